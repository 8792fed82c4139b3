"""Settings that cannot work are refused at start, in words that say what to do."""

import asyncio
from pathlib import Path

import pytest

from batch_common.config import Config, CustomHandler, Sinks, Webhook
from batch_common.errors import ConfigError
from batch_common.secret import Secret
from batch_sinks import app
from batch_sinks.registry import make_sinks

URL = "https://example.com/hook?token=hunter2"


async def test_an_unknown_sink_is_named_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"'webhok'.*choose from .*webhook"):
        make_sinks(Sinks(enabled=("webhok",)))


async def test_a_webhook_needs_a_url() -> None:
    with pytest.raises(ConfigError, match=r"set result_handlers\.webhook\.url"):
        make_sinks(Sinks(enabled=("webhook",)))


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com/", "https:///x", "http://["])
async def test_a_url_that_is_none_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigError, match=r"https://host/path") as raised:
        make_sinks(Sinks(enabled=("webhook",), webhook=Webhook(url=url)))
    assert url not in str(raised.value)


async def test_a_url_with_a_password_is_refused_unseen() -> None:
    settings = Sinks(enabled=("webhook",), webhook=Webhook(url="https://me:hunter2@example.com/"))
    with pytest.raises(ConfigError, match=r"webhook\.url: it must not hold a user") as raised:
        make_sinks(settings)
    assert "hunter2" not in str(raised.value)


async def test_a_sink_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Sinks(enabled=("webhook", "webhook"))


async def test_each_enabled_sink_is_made() -> None:
    [sink] = make_sinks(
        Sinks(
            enabled=("webhook",),
            webhook=Webhook(url=URL, secret=Secret("s"), events=("batch.failed",), timeout_s=3),
        )
    )
    assert (sink.name, sink.event_types) == ("webhook", {"batch.failed"})
    assert 3 < sink.limit_s < 10
    await sink.close()


async def test_a_wrong_setting_ends_the_service_before_it_connects() -> None:
    with pytest.raises(ConfigError):
        await app.run(Config(sinks=Sinks(enabled=("webhook",))), asyncio.Event())


@pytest.mark.parametrize("name", ["webhook_endpoint", "webhook_url"])
async def test_what_is_always_there_is_neither_enabled_nor_replaced(name: str) -> None:
    with pytest.raises(ConfigError, match=r"result_handlers\.webhook\.by_api"):
        make_sinks(Sinks(enabled=(name,)))
    with pytest.raises(ConfigError, match="built-in"):
        make_sinks(Sinks(custom={name: CustomHandler(handler="a:B")}))


async def test_a_secret_that_cannot_be_ends_the_service_before_it_connects(tmp_path: Path) -> None:
    """Also where only batches' own URLs would be signed with it."""
    settings = Sinks(webhook=Webhook(secret=Secret("whsec_no")))
    with pytest.raises(ConfigError, match=r"result_handlers\.webhook\.secret"):
        await app.run(Config(data_dir=str(tmp_path), sinks=settings), asyncio.Event())
