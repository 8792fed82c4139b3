"""A blob folder; no sockets."""

from pathlib import Path

import pytest

from batch_common.blobs import BlobStore, open_blobs
from batch_common.config import Blobs


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(Blobs(), tmp_path)
