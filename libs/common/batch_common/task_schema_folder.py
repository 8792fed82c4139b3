"""Task schemas by name: those of a folder, and those that come with this package."""

from collections.abc import Mapping
from pathlib import Path

from batch_common.config import Schemas
from batch_common.errors import ConfigError, TaskSchemaError
from batch_common.task_schema import Problem, TaskSchema
from batch_common.task_schema_file import MAX_BYTES, parse_task_schema, schemas_folder


class TaskSchemaFolder:
    """Files are read anew each time: an edit counts from the next look on."""

    def __init__(self, settings: Schemas) -> None:
        """Raises ConfigError for a folder that is none."""
        self._folder = Path(settings.folder).expanduser().absolute() if settings.folder else None
        if self._folder is not None and not self._folder.is_dir():
            raise ConfigError(
                f"schemas.folder {settings.folder!r} is no folder: make it, or name another"
            )

    def files(self) -> Mapping[str, Path]:
        """Name → file, sorted by name. One of yours goes before a built-in one."""
        found = _json_files(schemas_folder() / "examples")
        if self._folder is not None:
            found |= _json_files(self._folder)
        return dict(sorted(found.items()))

    def find(self, name: str) -> TaskSchema | None:
        """None for a name that no file has. Raises TaskSchemaError."""
        file = self.files().get(name)
        return None if file is None else read_task_schema(file)


def read_task_schema(file: Path) -> TaskSchema:
    """Raises TaskSchemaError, also for a file that cannot be read."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        problem = Problem("", f"it cannot be read: {error.strerror}")
        raise TaskSchemaError(str(file), [problem]) from error
    return parse_task_schema(data, str(file), file.stem)


def _json_files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.glob("*.json")}
