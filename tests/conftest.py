"""Fixtures for every tier."""

import logging

import pytest
import structlog

from support import examples

examples.load()


@pytest.fixture(autouse=True)
def logs_that_outlive_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command inside a test sets up logs on that test's own standard error, which ends with it.

    Loggers keep what they have once written to, for all tests of the process.
    """
    monkeypatch.setattr(structlog, "configure", lambda **_: None)
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
