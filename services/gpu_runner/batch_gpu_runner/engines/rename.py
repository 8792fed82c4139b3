"""Giving a JSON object another `model`, everything else byte for byte as it was."""

from collections.abc import Mapping

import msgspec


def rename_model(body: bytes, names: Mapping[str, str]) -> bytes:
    """`body` with its top-level `model` replaced if `names` maps it, else `body` itself.

    Nothing is changed in what is not a JSON object with a string `model`. The other members keep
    their order and their exact text.
    """
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        model = msgspec.json.decode(members["model"], type=str)
    except (KeyError, msgspec.MsgspecError):
        return body
    if model not in names:
        return body
    members["model"] = msgspec.Raw(msgspec.json.encode(names[model]))
    return msgspec.json.encode(members)


def model_of(body: bytes) -> str | None:
    """The `model` a request names; None when it names none."""
    try:
        return msgspec.json.decode(body, type=_Named).model
    except msgspec.MsgspecError:
        return None


class _Named(msgspec.Struct):
    model: str | None = None
