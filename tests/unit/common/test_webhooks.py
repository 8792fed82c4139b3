"""Targets that tenants may name."""

import pytest

from batch_common.config import Webhook
from batch_common.webhooks import WebhookUrlError, parse_target

PRIVATE = [
    "https://127.0.0.1/hook",
    "https://127.0.0.1:8443/hook",
    "https://[::1]/hook",
    "https://[::ffff:10.0.0.1]/hook",
    "https://0.0.0.0/hook",
    "https://169.254.169.254/latest",
    "https://localhost/hook",
    "https://LOCALHOST./hook",
    "https://a.localhost/hook",
]
NO_URLS = [
    "",
    "example.com/hook",
    "//example.com/hook",
    "https://",
    "https:///hook",
    "https://[",
    "https://example.com:99999/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://xn--/",
    "https://xn--a.example/",
    "https://\ud800.example/",
]


@pytest.mark.parametrize("url", ["https://example.com", "https://a.example:8443/hook?key=1"])
def test_public_https(url: str) -> None:
    assert parse_target(url, Webhook()).scheme == "https"


def test_http_only_where_it_is_allowed() -> None:
    with pytest.raises(WebhookUrlError, match="https://"):
        parse_target("http://example.com/hook", Webhook())
    assert parse_target("http://example.com/hook", Webhook(allow_http=True)).scheme == "http"


@pytest.mark.parametrize("url", PRIVATE)
def test_private_hosts_are_refused_at_once(url: str) -> None:
    with pytest.raises(WebhookUrlError, match="public internet"):
        parse_target(url, Webhook())
    assert parse_target(url, Webhook(allow_private=True))


@pytest.mark.parametrize("url", NO_URLS)
def test_no_urls_are_refused_unseen(url: str) -> None:
    with pytest.raises(WebhookUrlError, match="of the form https://host/path") as raised:
        parse_target(url, Webhook(allow_http=True, allow_private=True))
    assert len(url) < 10 or url not in str(raised.value)


@pytest.mark.parametrize("user", ["us%3Aer:hunter2", "Ł:hunter2", "me:hunter2", "me", ":", "a@b"])
def test_users_and_passwords_are_refused_unseen(user: str) -> None:
    with pytest.raises(WebhookUrlError, match="must not hold a user or password") as raised:
        parse_target(f"https://{user}@example.com/hook", Webhook())
    assert "hunter2" not in str(raised.value)
    assert parse_target("https://example.com/hook?mail=me@example.com", Webhook())
