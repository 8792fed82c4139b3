"""The Standard Webhooks signature, as `client.webhooks.unwrap` of `openai` checks it."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from batch_common.errors import ConfigError
from batch_common.secret import Secret
from batch_sinks.sink import Item

_PREFIX: Final = "whsec_"


def signing_key(secret: Secret) -> bytes:
    """Padded standard base64 after `whsec_`; without that prefix the text's own bytes.

    Empty for no secret. Raises ConfigError, without a word of the secret.
    """
    text = secret.reveal()
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ConfigError(
            "result_handlers.webhook.secret is not padded standard base64 after whsec_: make one "
            "with `echo whsec_$(openssl rand -base64 32)`"
        )
    return key


def sign(keys: Iterable[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one signature for each key, and any of them will do.

    Receivers refuse timestamps more than 300 s off.
    """
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def webhook_id(item: Item) -> str:
    """The idempotency key: the same in every attempt at this delivery, another for each place."""
    place = f"{item.sink}/{item.endpoint}" if item.endpoint else item.sink
    digest = hashlib.sha256(f"{place}\n{item.event_id}".encode()).hexdigest()
    return f"wh_{digest[:32]}"
