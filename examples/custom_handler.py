"""A result handler of your own: every finished batch becomes a CSV file of questions and answers.

    result_handlers:
      enabled: [csv]
      folder: examples                       # where this file is
      custom:
        csv:
          handler: custom_handler:CsvHandler
          options: {folder: /srv/answers}

It is a template: keep the shape, and replace what happens with each result.
"""

import csv
import os
from pathlib import Path

from batch_sinks import BatchMetadata, Result, ResultHandler, Results


class CsvHandler(ResultHandler):
    """`<folder>/<batch>.csv`, which is there whole or not at all."""

    def __init__(self, folder: str = "") -> None:
        """Gets the `options` of its section."""
        self._folder = Path(folder) if folder else None

    def enabled(self) -> bool:
        """Without a folder there is nowhere to write to: batches are skipped."""
        return self._folder is not None

    def handle(self, batch_id: str, results: Results, metadata: BatchMetadata) -> bool:
        """Writes under the batch's id, so that a repeat replaces what the first attempt wrote."""
        path = Path(self._folder or ".") / f"{batch_id}.csv"
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["custom_id", "tenant", "question", "answer", "error"])
            for result in results:  # one at a time: a batch may be larger than memory
                rows.writerow(
                    [
                        result["custom_id"],
                        metadata["tenant"],
                        question(result),
                        answer(result),
                        error(result),
                    ]
                )
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        return True  # delivered; False or an exception: try again later


def question(result: Result) -> str:
    """Of the request that this result answers; None when it is not kept any more."""
    request = result["request"]
    return request["body"]["messages"][-1]["content"] if request else ""


def answer(result: Result) -> str:
    response = result["response"]
    if response is None or response["status_code"] != 200:
        return ""
    return response["body"]["choices"][0]["message"]["content"]


def error(result: Result) -> str:
    """Why there is no answer: the request never got one, or the engine refused it."""
    if result["error"]:
        return result["error"]["code"]
    return "" if answer(result) else f"HTTP {result['response']['status_code']}"
