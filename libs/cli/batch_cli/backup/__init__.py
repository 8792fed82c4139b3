"""Backups of database and blob store, made while the services run, and their way back."""
