"""Subscriptions: when the timer next checks whether one must be verified. Row counts, for `/metrics`.

Every existing subscription is due for a check at once; the timer spreads them out. The default is a constant
to PostgreSQL, so the table is not rewritten.

Revision ID: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "row_counts",
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("numbers", JSONB(none_as_null=True), nullable=False),
        sa.Column("counted_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("table_name", name=op.f("row_counts_pkey")),
    )
    op.add_column(
        "subscriptions",
        sa.Column("verify_due_at", moment, server_default=sa.text("now()"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("subscriptions", "verify_due_at")
    op.drop_table("row_counts")
