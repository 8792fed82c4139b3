"""What a handler may raise and return that is no text and no truth: a failed attempt each."""

from pathlib import Path
from typing import Any

import pytest

from batch_common.config import CustomHandler
from batch_common.secret import Options
from support.handlers import SaysAnything
from support.wait import until

from .conftest import EndBatch, FindRow, InState, Serve

NOT_TRUE = "the handler did not return True"
NO_LINK = "the handler returned a link that cannot be kept"
# What the row says of each.
SAID = {
    "raise surrogate": "the handler raised ValueError: half \ufffd and \ufffd",
    "raise silent": "the handler raised SilentError: its text raised SystemExit",
    "raise long": "the handler raised ValueError: xxx",
    "raise delivery error": "half \ufffdxxx",
    "truthless": f"{NOT_TRUE} but Truthless, ",
    "none": f"{NOT_TRUE}, ",
    "one": f"{NOT_TRUE} but int, ",
    "link surrogate": NO_LINK,
    "link nul": NO_LINK,
    "link number": f"{NO_LINK} (int)",
    "link long": f"{NO_LINK} (str of 200010)",
    "link empty": NO_LINK,
}


def mine(folder: Path, kind: str, **options: Any) -> dict[str, Any]:
    own = CustomHandler(
        handler=f"support.handlers:{kind}",
        options=Options({"folder": str(folder), **options}),
        parallel=4,
    )
    return {"enabled": ("mine", "webhook"), "custom": {"mine": own}}


async def test_each_is_a_failed_attempt_in_words(
    serve: Serve, end_batch: EndBatch, find_row: FindRow, in_state: InState, tmp_path: Path
) -> None:
    assert SAID.keys() == SaysAnything.ODD.keys()
    async with serve(handlers=mine(tmp_path, "SaysAnything")) as stop:
        ended = {
            says: await end_batch(lines=1, sinks=("mine", "webhook"), metadata={"says": says})
            for says in SAID
        }
        for says, batch_id in ended.items():

            async def failed(batch_id: str = batch_id) -> bool:
                return (await find_row(batch_id, "mine")).last_error is not None

            await until(failed, within_s=20, what=f"the failed attempt: {says}")
            row = await find_row(batch_id, "mine")
            assert row.last_error.startswith(SAID[says])
            assert len(row.last_error) <= 2000
            assert (row.state, row.link) == ("pending", None)
        await until(in_state("delivered", *ended.values()))
        assert not stop.is_set()


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("truthless", "the handler's enabled() returned Truthless: it must return True or False"),
        ("yes", "the handler's enabled() returned str of 3: it must return True or False"),
        ("raise", "the handler raised SilentError: its text raised SystemExit"),
    ],
)
async def test_enabled_is_held_to_the_same(
    serve: Serve, end_batch: EndBatch, find_row: FindRow, tmp_path: Path, says: str, error: str
) -> None:
    async with serve(handlers=mine(tmp_path, "EnabledAnyhow", says=says)) as stop:
        batch_id = await end_batch(lines=1, sinks=("mine",))

        async def failed() -> bool:
            return (await find_row(batch_id, "mine")).last_error == error

        await until(failed)
        assert not stop.is_set()
