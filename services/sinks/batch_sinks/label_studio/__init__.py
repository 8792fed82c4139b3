"""Tasks in Label Studio, with the model's answers as predictions."""

import os

from batch_common import config
from batch_sinks.handler_sink import HandlerSink
from batch_sinks.label_studio.handler import LabelStudioHandler
from batch_sinks.label_studio.target import find_target


def make_label_studio(settings: config.Sinks) -> HandlerSink:
    """Raises ConfigError. One batch at a time: an import keeps a Label Studio busy."""
    own = settings.label_studio
    handler = LabelStudioHandler(own, find_target(own, os.environ))
    return HandlerSink("label_studio", handler, limit_s=own.limit_s, side_by_side=1)
