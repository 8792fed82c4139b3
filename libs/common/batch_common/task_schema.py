"""Task schemas: what a model must answer, how its inputs are shown, what a reviewer is asked.

One JSON file each; `schemas/base_schema.json` is what such a file is held against, and
docs/SCHEMAS.md says what it does.
"""

from typing import Any, Final, Literal

import msgspec

LAST_USER_MESSAGE: Final = "last_user_message"
"""In `Input.source`, in place of a pointer."""


CHOICES: Final = ("choice", "choices")
"""The types of questions that have options."""


class Input(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of the request that a reviewer is shown.

    name: unique among inputs and questions; ASCII letters, digits and `_`, a letter first
    source: a JSON pointer into the request's body, or LAST_USER_MESSAGE
    show: chat is a list of messages, image a URL (data: or http)
    """

    name: str
    title: str
    source: str = msgspec.field(name="from")
    show: Literal["text", "chat", "html", "image", "json"] = "text"


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a reviewer answers.

    options: of choice (one of them) and choices (any); empty for every other type
    max: the highest rating, the lowest is 1
    source: a JSON pointer into the model's answer, whose value there is the prediction; None: no
        prediction
    """

    name: str
    title: str
    type: Literal["choice", "choices", "rating", "number", "text", "boolean"]
    options: tuple[str, ...] = ()
    max: int = 5
    required: bool = False
    source: str | None = msgspec.field(default=None, name="from")


class TaskSchema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A checked one: `parse_task_schema` makes them.

    answer: the JSON Schema (2020-12) of the object that the model must answer. None: the model
        answers in words, and its answer is one string, which the empty pointer names
    strict: asks the engine to keep to the schema exactly, as OpenAI's `strict` does
    """

    name: str
    version: str = "1"
    title: str = ""
    description: str = ""
    answer: dict[str, Any] | None = None
    strict: bool = True
    inputs: tuple[Input, ...] = ()
    questions: tuple[Question, ...] = ()


class Problem(msgspec.Struct, frozen=True):
    """`at` is a JSON pointer; the empty one is the whole document."""

    at: str
    message: str

    def __str__(self) -> str:
        return f"at {self.at or 'the top level'}: {self.message}"


_DECODER: Final = msgspec.json.Decoder(TaskSchema)


def encode_task_schema(schema: TaskSchema) -> bytes:
    """As it is kept for a batch. Properties stay in their order: engines that follow a schema
    have the model write them so, and a reason comes before a label or after it.
    """
    return msgspec.json.encode(schema)


def decode_task_schema(data: bytes) -> TaskSchema:
    """What `encode_task_schema` gave, which needs no check."""
    return _DECODER.decode(data)
