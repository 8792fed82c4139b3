"""Schema versions, applied when a service starts."""
