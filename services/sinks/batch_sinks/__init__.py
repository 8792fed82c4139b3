"""The sinks service: delivers the ends of batches to the user's own systems.

`ResultHandler` is what you subclass to add a place of your own; docs/RESULT_HANDLERS.md.
"""

from batch_sinks.handler import BatchMetadata, Delivered, ResultHandler
from batch_sinks.results import Result, Results

__all__ = ["BatchMetadata", "Delivered", "Result", "ResultHandler", "Results"]
