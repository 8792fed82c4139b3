"""What a check has to say."""

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

Status = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """fix: what to do; empty when all is well."""

    check: str
    status: Status
    says: str
    fix: str = ""


class Check(msgspec.Struct, frozen=True):
    """`look` may take some seconds; what it raises is a finding as well."""

    name: str
    look: Callable[[], Awaitable[list[Finding]]]


def ok(check: str, says: str) -> Finding:
    return Finding(check=check, status="ok", says=says)


def warn(check: str, says: str, fix: str) -> Finding:
    return Finding(check=check, status="warn", says=says, fix=fix)


def fail(check: str, says: str, fix: str) -> Finding:
    return Finding(check=check, status="fail", says=says, fix=fix)
