"""The exact bytes and headers of a webhook."""

import base64
import os
import time

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from batch_common.errors import ConfigError
from batch_common.secret import Secret
from batch_sinks.sink import Item
from batch_sinks.webhook.body import encode_body
from batch_sinks.webhook.signature import sign, signing_key, webhook_id

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
BODY = (
    b'{"object":"event","id":"evt_1","type":"batch.completed","created_at":1700000000,'
    b'"data":{"id":"batch_1"}}'
)


def item(**changes: object) -> Item:
    values = {
        "sink": "webhook",
        "batch_id": "batch_1",
        "tenant": "default",
        "event_id": "evt_1",
        "event_type": "batch.completed",
        "ended_at": 1700000000,
        "attempt": 1,
    }
    return Item(**{**values, **changes})


def test_the_body_is_openais() -> None:
    assert encode_body(item()) == BODY


def test_the_fixed_vector() -> None:
    """Computed with `openai`'s own verification, clock fixed."""
    signature = sign([signing_key(Secret(SECRET))], "wh_1", 1700000000, BODY)
    assert signature == "v1,i94h9rUFaEQJshtEOG/AeB6ojfLdNPwgDUjrOEIHdBQ="


@pytest.mark.parametrize(
    "secret",
    [SECRET, "whsec_" + base64.b64encode(b"\xfb\xff" * 16).decode(), "plain text, ümläut"],
    ids=["vector", "base64 with + and /", "no prefix"],
)
def test_openai_verifies_it(secret: str) -> None:
    body = encode_body(item())
    now = int(time.time())
    headers = {
        "webhook-id": "wh_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign([signing_key(Secret(secret))], "wh_1", now, body),
    }
    with OpenAI(api_key="sk-test", webhook_secret=secret) as client:
        event = client.webhooks.unwrap(body, headers)
        assert (event.type, event.data.id) == ("batch.completed", "batch_1")
        with pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.unwrap(body.replace(b"batch_1", b"batch_2"), headers)


@pytest.mark.parametrize("bad", ["whsec_", "whsec_not-base64", "whsec_YWJj\n", "whsec_YWI"])
def test_a_secret_nobody_can_verify_is_refused_unseen(bad: str) -> None:
    with pytest.raises(ConfigError, match=r"result_handlers\.webhook\.secret") as raised:
        signing_key(Secret(bad))
    assert bad not in str(raised.value) or bad == "whsec_"


def test_with_two_keys_either_verifies() -> None:
    """As after a rotation that keeps the old secret for a day."""
    body, now = encode_body(item()), int(time.time())
    keys = [signing_key(Secret(secret)) for secret in (SECRET, "old")]
    headers = {
        "webhook-id": "wh_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(keys, "wh_1", now, body),
    }
    with OpenAI(api_key="sk-test") as client:
        for secret in (SECRET, "old"):
            assert client.webhooks.unwrap(body, headers, secret=secret).data.id == "batch_1"
        with pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.unwrap(body, headers, secret="another")


def test_the_id_is_of_the_delivery_not_of_the_attempt() -> None:
    first = webhook_id(item())
    assert first.startswith("wh_")
    assert first == webhook_id(item(attempt=9))
    others = {
        webhook_id(item(event_id="evt_2")),
        webhook_id(item(sink="webhook_url")),
        webhook_id(item(sink="webhook_endpoint", endpoint="we_1")),
        webhook_id(item(sink="webhook_endpoint", endpoint="we_2")),
    }
    assert len(others | {first}) == 5


def test_no_two_deliveries_share_an_id() -> None:
    ids = {webhook_id(item(event_id=f"evt_{os.urandom(8).hex()}")) for _ in range(1000)}
    assert len(ids) == 1000
