"""`python -m chaos.service_main CONTROL_FOLDER ROLE <vllm-batch arguments…>`.

The command as users run it, with the crash points, the wall clock and some constants in the
hands of chaos.control.
"""

import importlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batch_cli.main import main
from batch_common import clock, crash_points
from batch_common.blobs import BlobStore
from batch_common.keys import kind_of
from chaos.point_hook import PointHook, torn


def take_over(folder: Path, role: str) -> None:
    """Before any module of a service is imported: some take `now` by its name."""
    hook = PointHook(folder, role)
    crash_points.install(hook.reached)
    clock.wall = lambda: time.time() + hook.orders.clock_offset_s
    now = clock.now
    clock.now = lambda: now() + hook.orders.time_shift_s
    _tear_puts(hook)
    _name_reads(hook)
    set_constants(hook.orders.constants)


def _tear_puts(hook: PointHook) -> None:
    put = BlobStore.put

    async def maybe_torn(self: BlobStore, key: str, data: bytes | AsyncIterator[bytes]) -> int:
        point = f"put {kind_of(key)}"
        return await put(
            self, key, torn(data, hook, point) if hook.is_armed(point, "during") else data
        )

    BlobStore.put = maybe_torn  # type: ignore[method-assign]


def _name_reads(hook: PointHook) -> None:
    """Reads make nothing durable and are no crash points, but they can fail: `get <kind>`."""

    def named(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def reached(self: BlobStore, key: str, *arguments: Any) -> Any:
            await hook.reached(f"get {kind_of(key)}", "before")
            return await read(self, key, *arguments)

        return reached

    for name in ("get", "get_range", "size", "list"):
        setattr(BlobStore, name, named(getattr(BlobStore, name)))


def set_constants(constants: Mapping[str, float]) -> None:
    """`module:NAME` or, of a struct, `module:NAME.field`. Raises LookupError for one that is
    not there.
    """
    for place, value in constants.items():
        module_name, _, path = place.partition(":")
        name, _, field = path.partition(".")
        module = importlib.import_module(module_name)
        if not hasattr(module, name):
            raise LookupError(f"{module_name} has no {name}: change it in the test's constants")
        setattr(module, name, _changed(getattr(module, name), field, value))


def _changed(old: Any, field: str, value: float) -> Any:
    return msgspec.structs.replace(old, **{field: value}) if field else value


def serve(arguments: Sequence[str]) -> int:
    """CONTROL_FOLDER ROLE and the command's own; the exit code."""
    take_over(Path(arguments[0]), arguments[1])
    return main(arguments[2:])


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
