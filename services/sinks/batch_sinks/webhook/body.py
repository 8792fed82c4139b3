"""The body of a webhook, in OpenAI's wire form: the batch's id and nothing of its contents."""

from typing import Literal

import msgspec

from batch_sinks.sink import Item


class Data(msgspec.Struct, frozen=True):
    id: str


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """Field order is the wire's; `created_at` is when the batch ended, in Unix seconds."""

    object: Literal["event"] = "event"
    id: str
    type: str
    created_at: int
    data: Data


def encode_body(item: Item) -> bytes:
    return msgspec.json.encode(
        Body(
            id=item.event_id,
            type=item.event_type,
            created_at=item.ended_at,
            data=Data(item.batch_id),
        )
    )
