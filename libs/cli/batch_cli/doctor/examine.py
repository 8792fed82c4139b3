"""All checks, side by side where they may be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from batch_cli.doctor.blobs import look_at_blobs
from batch_cli.doctor.database import look_at_database
from batch_cli.doctor.disk import look_at_disk
from batch_cli.doctor.finding import Check, Finding, fail
from batch_cli.doctor.gpus import look_at_gpus
from batch_cli.doctor.listening import look_at_ports
from batch_cli.doctor.memory import look_at_memory
from batch_cli.doctor.models import hub_of, look_at_models
from batch_cli.doctor.nats import look_at_nats
from batch_cli.doctor.packages import look_at_python
from batch_cli.doctor.place import Place
from batch_cli.doctor.runners import look_at_runners
from batch_gpu_runner.gpu.driver_call import DriverCalls, DriverHangsError
from batch_gpu_runner.gpu.library import Library

# A driver, a mount or a name server that hangs must not hang the doctor.
_WITHIN_S: Final = 60.0


async def examine(place: Place, library: Library) -> list[Finding]:
    """In the order in which they are read: what everything else stands on comes first."""
    checks = (
        Check("python", _in_thread(lambda: look_at_python(place))),
        Check("gpu", lambda: _gpu_and_model(place, library)),
        Check("disk", _in_thread(lambda: look_at_disk(place))),
        Check("port", _in_thread(lambda: look_at_ports(place))),
        Check("nats", lambda: look_at_nats(place)),
        Check("database", lambda: look_at_database(place)),
        Check("blobs", lambda: look_at_blobs(place)),
        Check("runner", _in_thread(lambda: look_at_runners(place))),
    )
    found = await asyncio.gather(*map(_safely, checks))
    return [finding for each in found for finding in each]


async def _gpu_and_model(place: Place, library: Library) -> list[Finding]:
    if not place.has_runner:
        return []
    calls = DriverCalls()
    models, weights = await asyncio.to_thread(look_at_models, place, hub_of())
    try:
        gpus = await calls.call(lambda: look_at_gpus(place, library))
        memory = await calls.call(lambda: look_at_memory(place, library, weights))
    except DriverHangsError:
        fix = "see dmesg for an Xid, and boot again; docs/GPU.md says more"
        return [fail("gpu", "the driver does not answer; nvidia-smi would hang as well", fix)]
    return [*gpus, *models, *memory]


def _in_thread(look: Callable[[], list[Finding]]) -> Callable[[], Awaitable[list[Finding]]]:
    return lambda: asyncio.to_thread(look)


async def _safely(check: Check) -> list[Finding]:
    try:
        async with asyncio.timeout(_WITHIN_S):
            return await check.look()
    except TimeoutError:
        says = f"nothing was found out within {_WITHIN_S:.0f} s"
        return [fail(check.name, says, "something below it hangs: a mount, a network, a driver")]
    except Exception as error:  # noqa: BLE001 - one check must not cost the others
        says = f"it could not be checked: {str(error) or type(error).__name__}"
        return [fail(check.name, says, "correct what it names, and try again")]
