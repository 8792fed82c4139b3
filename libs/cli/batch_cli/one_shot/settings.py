"""A private system for one file: nothing of it is shared, nothing is limited."""

from pathlib import Path
from typing import Final

import msgspec

from batch_common.config import Blobs, Config, Database, Metrics, Nats, Sinks
from batch_common.secret import ApiKeys, Secret

WINDOW: Final = "365d"
_NO_LIMIT: Final = 1 << 50


def private(config: Config, folder: Path, key: Secret) -> Config:
    """`config` with all its state in `folder`, behind `key`, on any free port."""
    return msgspec.structs.replace(
        config,
        data_dir=str(folder),
        database=Database(),
        nats=Nats(server=config.nats.server, url=Secret("nats://127.0.0.1:0")),
        blobs=Blobs(),
        sinks=Sinks(),
        metrics=Metrics(),
        gateway=msgspec.structs.replace(
            config.gateway,
            host="127.0.0.1",
            port=0,
            api_keys=ApiKeys({key.reveal(): "default"}),
        ),
        limits=msgspec.structs.replace(
            config.limits,
            max_requests=_NO_LIMIT,
            max_batch_file_bytes=_NO_LIMIT,
            max_file_bytes=_NO_LIMIT,
            max_embedding_inputs=_NO_LIMIT,
            completion_windows=(WINDOW,),
            single_model=False,
        ),
    )
