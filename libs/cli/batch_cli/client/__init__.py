"""Talking to a server: plain HTTP, streaming, nothing held in memory."""
