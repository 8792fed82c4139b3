"""Result files in the user's own bucket."""

from batch_common import config
from batch_common.errors import ConfigError
from batch_sinks.handler_sink import HandlerSink


def make_s3(settings: config.Sinks) -> HandlerSink:
    """Raises ConfigError. Loads the S3 client, which nobody else pays for."""
    try:
        from batch_sinks.s3.handler import S3Handler  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the handler s3 needs the package {error.name}: pip install 'vllm-batch-server[s3]'"
        ) from error
    own = settings.s3
    return HandlerSink("s3", S3Handler(own), limit_s=own.limit_s, side_by_side=1)
