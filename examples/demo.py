"""Some fifty requests through the whole system, on a small real model and without a GPU.

    make demo

Starts `vllm-batch up` with its data in .demo/, hands in examples/demo_requests.jsonl with the
OpenAI client, follows the batch, shows some answers, and stops everything.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types import Batch
from rich.console import Console
from rich.table import Table

from batch_cli.client.api import Api
from batch_cli.client.display import choose_display
from batch_cli.client.watch import to_the_end
from batch_common.secret import Secret

REQUESTS = Path(__file__).with_name("demo_requests.jsonl")
FOLDER = Path(".demo").absolute()
SHOWN = ("question-03", "question-19", "question-20", "support-2", "extract-1", "extract-5")

console = Console()


def main() -> int:
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with server() as url:
        client = OpenAI(base_url=url, api_key="none")
        batch = hand_in(client)
        to_the_end(Api(url, Secret("")), batch.id, choose_display(sys.stdout))
        answers = fetch(client, client.batches.retrieve(batch.id))
    show(answers)
    console.print(f"The requests: {REQUESTS}")
    console.print(f"All results:  {FOLDER / 'output.jsonl'} and {FOLDER / 'errors.jsonl'}")
    console.print(f"The server's data and logs: {FOLDER / 'data'}")
    console.print(f"Done in {time.monotonic() - began:.0f} s.")
    return 0 if any(answer["error"] for answer in answers.values()) else 1


@contextmanager
def server() -> Iterator[str]:
    """The system's base URL; it is stopped when the block ends."""
    script = [sys.executable, "-m", "batch_cli", "up"]
    options = ["--data-dir", str(FOLDER / "data"), "--port", "0", "--engine", "llamacpp"]
    with subprocess.Popen([*script, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            first = process.stdout.readline()
            if not first.startswith("ready "):
                raise SystemExit(process.wait())  # it has said why
            yield first.split()[1]
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def hand_in(client: OpenAI) -> Batch:
    uploaded = client.files.create(file=REQUESTS, purpose="batch")
    return client.batches.create(
        input_file_id=uploaded.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"from": "make demo"},
    )


def fetch(client: OpenAI, batch: Batch) -> dict[str, dict[str, Any]]:
    """Result lines by custom_id; both files are kept."""
    answers = {}
    for name, file_id in (("output", batch.output_file_id), ("errors", batch.error_file_id)):
        content = client.files.content(file_id).text if file_id else ""
        (FOLDER / f"{name}.jsonl").write_text(content, encoding="utf-8")
        lines = map(json.loads, content.splitlines())
        answers |= {line["custom_id"]: read(line) for line in lines}
    return answers


def read(line: dict[str, Any]) -> dict[str, Any]:
    """The answer's text, or why there is none."""
    if line["error"]:
        return {"text": line["error"]["message"], "error": line["error"]["code"]}
    response = line["response"]
    if response["status_code"] != 200:
        return {
            "text": response["body"]["error"]["message"],
            "error": f"HTTP {response['status_code']}",
        }
    return {"text": response["body"]["choices"][0]["message"]["content"], "error": None}


def show(answers: dict[str, dict[str, Any]]) -> None:
    requests = map(json.loads, REQUESTS.read_text("utf-8").splitlines())
    questions = {line["custom_id"]: line["body"]["messages"][-1]["content"] for line in requests}
    failed = [name for name, answer in answers.items() if answer["error"]]
    table = Table(
        title=f"{len(answers)} requests, {len(failed)} failed; some of them", show_lines=True
    )
    for heading in ("custom_id", "question", "answer"):
        table.add_column(heading, overflow="fold")
    for name in (*SHOWN, *failed):
        answer = answers[name]
        error = f"[red]{answer['error']}:[/red] " if answer["error"] else ""
        table.add_row(name, str(questions[name]), error + short(answer["text"]))
    console.print(table)


def short(text: str) -> str:
    """On one line; rich must not take brackets for markup."""
    words = " ".join(text.split())
    return (words[:157] + "…" if len(words) > 157 else words).replace("[", r"\[")


if __name__ == "__main__":
    sys.exit(main())
