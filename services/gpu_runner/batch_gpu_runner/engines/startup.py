"""Waiting for a managed engine: it serves, it ends, or its time is up."""

import asyncio
import time

from batch_common.logs import get_log
from batch_gpu_runner.engines.client import EngineClient, wait_until_served
from batch_gpu_runner.engines.last_words import one_line
from batch_gpu_runner.engines.process import EngineProcess

PROGRESS_S = 10.0

log = get_log(__name__)


async def why_not_served(
    process: EngineProcess, client: EngineClient, limit_s: float
) -> str | None:
    """None once GET /health answers 200; else why it never will, with the engine's last words.

    Logs what the engine says meanwhile, each PROGRESS_S.
    """
    began = time.monotonic()
    served = asyncio.create_task(wait_until_served(client, "/health"))
    ended = asyncio.create_task(process.wait())
    try:
        while (left_s := began + limit_s - time.monotonic()) > 0:
            await asyncio.wait(
                {served, ended},
                timeout=min(PROGRESS_S, left_s),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if ended.done():
                return ended.result()
            if served.done():
                return None
            await _report_progress(process, began)
        words = one_line(await process.last_words())
        return f"it did not serve within {limit_s:g} s; last words: {words or 'none'}"
    finally:
        served.cancel()
        ended.cancel()
        await asyncio.gather(served, ended, return_exceptions=True)


async def _report_progress(process: EngineProcess, began: float) -> None:
    log.info(
        "engine_still_starting",
        elapsed_s=round(time.monotonic() - began),
        says=await process.last_line(),
        output_file=str(process.output),
    )
