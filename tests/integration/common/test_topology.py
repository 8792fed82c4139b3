"""Streams where the server can hold them, and a word where it cannot."""

import msgspec
import pytest

from batch_common.bus import connect
from batch_common.errors import ConfigError
from support.nats_process import NatsProcess


async def test_copies_on_a_server_without_a_cluster_are_a_wrong_setting(
    nats_process: NatsProcess,
) -> None:
    """Taken for a passing fault it would be tried for ever."""
    settings = msgspec.structs.replace(nats_process.settings, replicas=3)
    with pytest.raises(ConfigError, match=r"nats\.replicas is 3.*not part of a cluster"):
        await connect(settings, "test").__aenter__()
