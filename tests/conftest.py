"""Fixtures for every tier."""

from support import examples

examples.load()
