"""Deliveries that are redriven are tried for the whole time again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("redriven_at", sa.Float(), nullable=True))
    op.add_column(
        "deliveries",
        sa.Column("attempts_before", sa.Integer(), server_default="0", nullable=False),
    )
