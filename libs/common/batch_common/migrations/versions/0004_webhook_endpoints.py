"""Webhook endpoints made over the API, and a delivery for each of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COPY = """
    INSERT INTO deliveries (
        batch_id, sink, tenant, event_id, event_type, state, attempts, created_at, next_at,
        claimed_until, delivered_at, last_error, link
    )
    SELECT
        batch_id, sink, tenant, event_id, event_type, state, attempts, created_at, next_at,
        claimed_until, delivered_at, last_error, link
    FROM deliveries_before
"""


def _json() -> sa.JSON:
    return sa.JSON(none_as_null=True).with_variant(
        postgresql.JSONB(none_as_null=True), "postgresql"
    )


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", _json(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("old_secrets", _json(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "webhook_endpoints_by_tenant", "webhook_endpoints", ["tenant", "id"], unique=False
    )
    _key_deliveries_by_endpoint()


def _key_deliveries_by_endpoint() -> None:
    """Made anew: SQLite cannot change the primary key of a table."""
    op.drop_index("deliveries_due", table_name="deliveries")
    op.rename_table("deliveries", "deliveries_before")
    op.create_table(
        "deliveries",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("sink", sa.String(length=255), nullable=False),
        sa.Column("endpoint", sa.String(length=64), server_default=sa.text("''"), nullable=False),
        sa.Column("tenant", sa.String(length=255), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("event_type", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("claimed_until", sa.Float(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("link", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", "sink", "endpoint"),
    )
    op.execute(_COPY)
    op.drop_table("deliveries_before")
    op.create_index("deliveries_due", "deliveries", ["sink", "state", "next_at"], unique=False)
