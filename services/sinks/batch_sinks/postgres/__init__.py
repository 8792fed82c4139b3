"""Results as rows of a table in the user's own Postgres."""

from batch_sinks.postgres.handler import PostgresHandler, make_postgres

__all__ = ["PostgresHandler", "make_postgres"]
