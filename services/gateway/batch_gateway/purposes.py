"""What files are for, and what that asks of them."""

from pathlib import PurePosixPath
from typing import Final

from batch_common.config import Limits
from batch_gateway.errors import ApiError

BATCH: Final = "batch"
PURPOSES: Final = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
_NO_DOWNLOAD: Final = frozenset({"assistants", "user_data"})
# What OpenAI's client calls bytes that came without a name.
NAMELESS: Final = "upload"
_MAX_NAME: Final = 255
_MAX_SUFFIX: Final = 16


def check_purpose(purpose: str) -> str:
    if purpose not in PURPOSES:
        listed = ", ".join(f"'{known}'" for known in PURPOSES)
        raise ApiError(400, f"'{purpose}' is not one of [{listed}] - 'purpose'", param="purpose")
    return purpose


def check_batch_name(purpose: str, filename: str) -> None:
    """OpenAI takes `.jsonl` for batches; raw bytes from its client arrive as `upload`."""
    if purpose == BATCH and filename != NAMELESS and not filename.lower().endswith(".jsonl"):
        raise not_jsonl()


def not_jsonl() -> ApiError:
    return ApiError(400, "Invalid file format for Batch API. Must be .jsonl")


def check_download(purpose: str) -> None:
    if purpose in _NO_DOWNLOAD:
        raise ApiError(400, f"Not allowed to download files of purpose: {purpose}")


def largest(limits: Limits, purpose: str | None) -> int:
    """Bytes that one request to /files may bring; None: the purpose is not known yet."""
    if purpose == BATCH:
        return min(limits.max_file_bytes, limits.max_batch_file_bytes)
    return limits.max_file_bytes


def plain_name(filename: str | None) -> str:
    """A name to show, never a path: without folders and control characters.

    A long one is cut before its suffix, which says what kind of file it is.
    """
    path = PurePosixPath((filename or "").replace("\\", "/")).name
    name = "".join(c for c in path if c.isprintable())
    suffix = PurePosixPath(name).suffix[:_MAX_SUFFIX] if len(name) > _MAX_NAME else ""
    return name[: _MAX_NAME - len(suffix)] + suffix or NAMELESS
