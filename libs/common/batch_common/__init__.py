"""What every service shares: events, streams, bus, blobs, tables, state, configuration, logs."""
