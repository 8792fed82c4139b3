"""Keys of the blob store. Every one is made here."""

from pathlib import PurePosixPath
from typing import Final

# Folders of everything that the collector may find to be an orphan.
FOLDERS: Final = ("files/", "uploads/", "plans/", "results/", "chunks/")
_KINDS: Final = {
    "files": "file",
    "uploads": "upload part",
    "plans": "plan",
    "results": "results",
    "installations": "installation",
}


def check_key(key: str) -> None:
    """Raises ValueError for a key that is empty, absolute, or climbs out with `..`."""
    parts = PurePosixPath(key).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise ValueError(f"not a blob key: {key!r}")


def kind_of(key: str) -> str:
    """What kind of object lies there: `file`, `plan`, `segment`, …; `object` for a stranger's."""
    folder, _, rest = key.partition("/")
    if folder == "chunks":
        name = rest.rpartition("/")[2]
        return "segment" if is_segment(key) else f"chunk {name.partition('.')[0]}"
    return _KINDS.get(folder, "object")


def file_content(file_id: str) -> str:
    return f"files/{file_id}"


def upload_part(upload_id: str, part_id: str) -> str:
    return f"uploads/{upload_id}/{part_id}"


def upload_prefix(upload_id: str) -> str:
    return f"uploads/{upload_id}/"


def plan_input(batch_id: str, plan: str | None = None) -> str:
    """The planned input: the request lines in planned order, each ended by one newline.

    `plan` derives from the content, so that a late writer of another plan overwrites nothing;
    the first release had no such names.
    """
    return f"{plan_prefix(batch_id)}{plan}/input" if plan else f"{plan_prefix(batch_id)}input"


def plan_index(batch_id: str, plan: str | None = None) -> str:
    """Its index: a formats.plan record for each line."""
    return f"{plan_prefix(batch_id)}{plan}/index" if plan else f"{plan_prefix(batch_id)}index"


def plan_schema(batch_id: str, plan: str | None = None) -> str:
    """The batch's task schema, where it has one: runners have no database to look it up in."""
    return f"{plan_prefix(batch_id)}{plan}/schema" if plan else f"{plan_prefix(batch_id)}schema"


def plan_prefix(batch_id: str) -> str:
    return f"plans/{batch_id}/"


def batch_content(batch_id: str, name: str) -> str:
    """The formats.content.Content of a batch's result file; `name` is `output` or `error`."""
    return f"results/{batch_id}/{name}"


def batch_of_errors(key: str) -> str | None:
    """The batch whose error file's Content lies there; None for any other object."""
    folder, _, rest = key.partition("/")
    batch_id, _, name = rest.partition("/")
    return batch_id if (folder, name) == ("results", "error") else None


def chunk_prefix(batch_id: str, chunk_id: str) -> str:
    """Everything that any attempt at this chunk writes."""
    return f"chunks/{batch_id}/{chunk_id}/"


def segment(prefix: str, attempt: str, number: int) -> str:
    """Segments of one attempt count from 1. `prefix` is a chunk_prefix."""
    return f"{prefix}{attempt}/segment-{number:06d}"


def is_segment(key: str) -> bool:
    return key.rpartition("/")[2].startswith("segment-")


def suspects(prefix: str, attempt: str) -> str:
    """Which lines may have killed the engine, as this attempt knows it. Swept as segments are."""
    return f"{prefix}{attempt}/suspects.json"


def is_suspects(key: str) -> bool:
    return key.endswith("/suspects.json")


def chunk_output(prefix: str, attempt: str) -> str:
    return f"{prefix}{attempt}/output.jsonl"


def chunk_errors(prefix: str, attempt: str) -> str:
    return f"{prefix}{attempt}/errors.jsonl"


def chunk_manifest(prefix: str, attempt: str) -> str:
    return f"{prefix}{attempt}/manifest.json"


INSTALLATIONS: Final = "installations/"


def installation(installation_id: str) -> str:
    """Each database that this store serves has one such object; its id is a row there."""
    return f"{INSTALLATIONS}{installation_id}"


def is_manifest(key: str) -> bool:
    return key.endswith("/manifest.json")
