"""What validation finds: the entries of a batch's `errors.data`.

Codes and messages are OpenAI's where it has been seen to give one; `invalid_type`,
`invalid_method`, `request_too_large`, `empty_file`, `file_too_large`, `too_many_requests`,
`too_many_embedding_inputs`, `unsupported_endpoint`, `input_unavailable`, `server_error` and
`more_errors` are our own.
"""

from typing import Final

import msgspec

MAX_PROBLEMS: Final = 10_000
"""Entries kept of one batch; one more then says how many there are besides."""

_SHOWN_CHARS: Final = 200
_HIDDEN: Final = "\N{REPLACEMENT CHARACTER}"
_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class Problem(msgspec.Struct, frozen=True):
    """`line` counts from 1, blank lines too; None for what concerns the file as a whole."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


def shown(text: str) -> str:
    """The user's text for a message: no control characters (Postgres stores no NUL), not long."""
    plain = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:_SHOWN_CHARS]
    )
    return plain + "…" if len(text) > _SHOWN_CHARS else plain


def not_json(line: int) -> Problem:
    return Problem("invalid_json_line", "This line is not parseable as valid JSON.", None, line)


def missing(name: str, param: str, line: int) -> Problem:
    return Problem(
        "missing_required_parameter", f"Missing required parameter: '{name}'.", param, line
    )


def wrong_type(param: str, wanted: str, value: object, line: int) -> Problem:
    got = _KINDS.get(type(value), "another type")
    message = f"Invalid type for '{param}': expected {wanted}, but got {got} instead."
    return Problem("invalid_type", message, param, line)


def repeated_id(custom_id: str, line: int) -> Problem:
    message = (
        f"The custom_id '{shown(custom_id)}' for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch."
    )
    return Problem("duplicate_custom_id", message, "custom_id", line)


def no_such_file(file_id: str, tenant: str) -> Problem:
    message = (
        f"Cannot find file {shown(file_id)}, or organization {shown(tenant)} does not have "
        "access to it."
    )
    return Problem("invalid_request", message, "file_id")


def plan_lost(done: int, total: int) -> Problem:
    message = (
        "The blob store has lost the plan of this batch, and its input file does not bring it "
        f"back: {done} of {total} requests have results, which are kept in the output and error "
        "files. Create a batch of the others again."
    )
    return Problem("plan_lost", message)


def and_more(count: int) -> Problem:
    message = f"{count} more errors are not listed; correct the ones above and submit again."
    return Problem("more_errors", message)
