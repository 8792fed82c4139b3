"""What gateway, scheduler and sinks agree on about webhooks that tenants ask for themselves."""

from typing import Final

import yarl

from batch_common.config import Webhook
from batch_common.public_address import is_public

# The configured one; in a batch's `metadata.sinks` also all of its tenant's endpoints.
WEBHOOKS: Final = "webhook"

# Sinks that need no place in `result_handlers.enabled`: the endpoints that a tenant has made
# over the API, one delivery for each, and the URL that a batch names in its metadata.
ENDPOINT_SINK: Final = "webhook_endpoint"
URL_SINK: Final = "webhook_url"

# The pair of a batch's metadata that holds its URL.
URL_KEY: Final = "webhook_url"


class WebhookUrlError(ValueError):
    """A target that tenants may not have. Its words keep the URL, which may be secret."""


def parse_target(text: str, settings: Webhook) -> yarl.URL:
    """A target that a tenant has named. Raises WebhookUrlError.

    This is for people, who are told at once; what a name stands for is only known, and checked,
    when it is connected to.
    """
    url = parse_url(text)
    if url.scheme == "http" and not settings.allow_http:
        raise WebhookUrlError("it must begin with https://")
    if not settings.allow_private and _is_private(url.host or ""):
        raise WebhookUrlError("its host is not on the public internet")
    return url


def parse_url(text: str) -> yarl.URL:
    """Raises WebhookUrlError for what is no http or https URL, and for one with a user in it."""
    try:
        url = yarl.URL(text)
        host = url.host  # decodes it, which may fail
    except ValueError:
        url, host = yarl.URL(), None
    if url.scheme not in ("http", "https") or not host:
        raise WebhookUrlError("it must be a URL of the form https://host/path")
    if "@" in url.raw_authority:
        # Not every user and password can be sent by HTTP; what is sent is signed anyway.
        raise WebhookUrlError(
            "it must not hold a user or password before its host: put a secret into its path or "
            "query, and check the signature"
        )
    return url


def _is_private(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return not is_public(name)
    except ValueError:
        return False  # a name
