"""Plans named by content, examinations that died counted, and whose the blob store is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("plan", sa.String(length=64), nullable=True))
    op.add_column("batches", sa.Column("plan_lost_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "batches", sa.Column("examinations", sa.Integer(), server_default="0", nullable=False)
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
