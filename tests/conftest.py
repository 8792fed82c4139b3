"""Fixtures for every tier."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from support import examples

examples.load()

_configure = structlog.configure


def _configure_for_now(**settings: Any) -> None:
    _configure(**settings | {"cache_logger_on_first_use": False})


@pytest.fixture(autouse=True)
def logs_that_outlive_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command inside a test sets up logs on that test's own standard error, which ends with it.

    A logger would keep what it has once written to, for all tests of the process.
    """
    before = structlog.get_config()
    monkeypatch.setattr(structlog, "configure", _configure_for_now)
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
    yield
    _configure(**before)
