"""The work of `vllm-batch run`."""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Final

from batch_cli.client.api import Api
from batch_cli.client.batch import Batch, read_batch
from batch_cli.client.display import choose_display
from batch_cli.client.errors import UnreachableError
from batch_cli.client.results import copy_file, whole_file
from batch_cli.client.send_file import send_file
from batch_cli.client.submit import create_batch, first_endpoint
from batch_cli.client.watch import check_completed
from batch_cli.one_shot.job import Job, find_job
from batch_cli.one_shot.options import engine_options
from batch_cli.one_shot.ordered import write_in_order
from batch_cli.one_shot.settings import WINDOW, private
from batch_cli.standalone.prepare import prepared, read_config
from batch_cli.standalone.readiness import base_url, served_models
from batch_cli.standalone.report import Report
from batch_cli.standalone.settings import Flags
from batch_cli.standalone.stack import Plan, running
from batch_common.config_file import data_dir
from batch_common.errors import StartError
from batch_common.secret import Secret

_POLL_S: Final = 0.5
_METADATA: Final = "vllm_batch_run"
_INTERRUPTED: Final = 128 + signal.SIGINT
# Ended so, there is nothing that could go on.
_OVER: Final = frozenset({"failed", "expired", "cancelled"})


def run(args: argparse.Namespace) -> int:
    """0 when every request has its line in the output."""
    flags = Flags(
        data_dir=args.data_dir,
        engine=args.engine,
        models=_models(args),
        options=engine_options(args.unknown),
    )
    config = read_config(args.config, flags)
    job = find_job(Path(args.input_file), Path(args.output_file))
    endpoint = first_endpoint(job.source)
    folder, key, report = job.folder(data_dir(config)), Secret(secrets.token_hex(16)), Report()
    with prepared(private(config, folder, key), args.runners, report) as plan:
        batch = asyncio.run(_serve(plan, report, _Work(job, endpoint, plan, key)))
    if batch is None:
        report.say("type the same command again to go on")
        return _INTERRUPTED
    # Over and done with, or refused: either way there is nothing to go on from.
    shutil.rmtree(folder, ignore_errors=True)
    check_completed(batch)
    report.say(_summary(batch, job.target))
    return 0


async def _serve(plan: Plan, report: Report, work: "_Work") -> Batch | None:
    """The ended batch; None when a signal came first."""
    async with running(plan, report) as stack:
        if await stack.until_ready() and await stack.unless_over(work.do()):
            return work.batch
    return None


class _Work:
    """From the input file to the output file, through the private system."""

    def __init__(self, job: Job, endpoint: str, plan: Plan, key: Secret) -> None:
        self._job = job
        self._endpoint = endpoint
        self._plan = plan
        self._api = Api(base_url(plan.host, plan.port), key)
        self.batch: Batch | None = None

    async def do(self) -> None:
        """Goes on where an earlier run was cut off. Sets `batch` when all is done."""
        content = await asyncio.to_thread(self._begun) or await asyncio.to_thread(self._begin)
        batch = await self._ended(read_batch(content).id)
        if batch.status == "completed":
            await asyncio.to_thread(self._write, batch)
        self.batch = batch

    def _begun(self) -> Any | None:
        for content in self._api.get("/batches", {"limit": "100"})["data"]:
            batch = read_batch(content)
            if batch.status not in _OVER and (batch.metadata or {}).get(_METADATA) == self._job.id:
                self._check_served(batch)
                return content
        return None

    def _begin(self) -> Any:
        file_id = send_file(self._api, self._job.source, max_single=sys.maxsize)
        return create_batch(
            self._api,
            file_id,
            endpoint=self._endpoint,
            window=WINDOW,
            metadata={_METADATA: self._job.id},
        )

    def _check_served(self, batch: Batch) -> None:
        """An earlier run may have been typed with another --model; its requests would wait."""
        served = served_models(self._plan.host, self._plan.port)
        if batch.model is not None and not batch.is_final and batch.model not in served:
            raise StartError(
                f"this work was begun with the model {batch.model!r}, which is not served now: "
                "give the same --model as before, or another output path to begin anew"
            )

    async def _ended(self, batch_id: str) -> Batch:
        with choose_display(sys.stderr) as display:
            while True:
                content = await asyncio.to_thread(self._look, batch_id)
                if content is not None:
                    display.show(content)
                    if (batch := read_batch(content)).is_final:
                        return batch
                await asyncio.sleep(_POLL_S)

    def _look(self, batch_id: str) -> Any | None:
        """None while the gateway is started again."""
        try:
            return self._api.get(f"/batches/{batch_id}")
        except UnreachableError:
            return None

    def _write(self, batch: Batch) -> None:
        fetched = self._plan.folder.run / "results.jsonl"
        with fetched.open("wb") as file:
            for file_id in (batch.output_file_id, batch.error_file_id):
                if file_id:
                    copy_file(self._api, file_id, file)
        with whole_file(self._job.target) as target:
            write_in_order(fetched, target, batch.counts.total)


def _models(args: argparse.Namespace) -> tuple[str, ...]:
    models = tuple(args.models or ())
    if args.served_model_name is None:
        return models
    if len(models) != 1:
        args.parser.error("--served-model-name goes with exactly one --model")
    return (f"{args.served_model_name}={models[0]}",)


def _summary(batch: Batch, target: Path) -> str:
    counts = batch.counts
    failed = f", {counts.failed} of them failed: their lines say why" if counts.failed else ""
    return f"{counts.total} results in {target}{failed}"
