"""The sinks service: delivers the ends of batches to the user's own systems."""
