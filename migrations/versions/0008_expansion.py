"""Automatic purchases: pending claims, and the purchase queue; who confirmed a seat change.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("assignments", sa.Column("awaits", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("assignments_awaits_check"),
        "assignments",
        "awaits IS NULL OR (state = 'held' AND awaits IN ('active', 'held'))",
    )
    op.create_index(
        "assignments_waiting",
        "assignments",
        ["account_id", "id"],
        postgresql_where=sa.text("awaits IS NOT NULL"),
    )
    op.add_column(
        "seat_changes",
        sa.Column("is_automatic", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("seat_changes", sa.Column("missed_at", moment, nullable=True))
    op.add_column("seat_changes", sa.Column("actor", sa.Text(), nullable=True))
    op.add_column("seat_changes", sa.Column("answered_at", moment, nullable=True))
    op.add_column(
        "seat_changes",
        sa.Column("buys_for", sa.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
    )
    op.create_index(
        "seat_changes_automatic",
        "seat_changes",
        ["account_id", "sent_at"],
        postgresql_where=sa.text("is_automatic AND sent_at IS NOT NULL"),
    )
    op.create_table(
        "expansions",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("next_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_until", moment, nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("expansions_account_id_fkey")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("expansions_pkey")),
    )
    op.create_index(op.f("expansions_next_at_idx"), "expansions", ["next_at"])


def downgrade() -> None:
    op.drop_table("expansions")
    op.drop_index("seat_changes_automatic", "seat_changes")
    op.drop_column("seat_changes", "missed_at")
    op.drop_column("seat_changes", "buys_for")
    op.drop_column("seat_changes", "answered_at")
    op.drop_column("seat_changes", "actor")
    op.drop_column("seat_changes", "is_automatic")
    op.drop_index("assignments_waiting", "assignments")
    op.drop_constraint(op.f("assignments_awaits_check"), "assignments")
    op.drop_column("assignments", "awaits")
