"""Prometheus metrics on a port of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from batch_common.config import Metrics
from batch_common.errors import StartError
from batch_common.logs import get_log

log = get_log(__name__)


@contextmanager
def serve_metrics(settings: Metrics) -> Iterator[None]:
    """Serves `/metrics` from a thread; port 0 serves nothing. Raises StartError."""
    if not settings.port:
        yield
        return
    try:
        server, thread = start_http_server(settings.port, settings.host)
    except OSError as error:
        raise StartError(
            f"metrics cannot listen on {settings.host}:{settings.port} ({error.strerror}): "
            "choose another metrics.port"
        ) from error
    log.info("metrics_served", host=settings.host, port=settings.port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
