"""Fixtures for every tier."""
