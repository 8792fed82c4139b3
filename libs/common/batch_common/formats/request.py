"""One line of an input file, as OpenAI defines it."""

from typing import Final

import msgspec


class RequestLine(msgspec.Struct, frozen=True):
    """What a runner needs of a validated line; `body` is the JSON text as it stands."""

    custom_id: str
    body: msgspec.Raw


REQUEST_DECODER: Final = msgspec.json.Decoder(RequestLine)
