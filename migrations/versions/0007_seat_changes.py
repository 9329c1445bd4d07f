"""Seat changes: previewed, sent once, and followed until their outcome is known.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "seat_changes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="previewed", nullable=False),
        sa.Column("plan", JSONB(none_as_null=True), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("seats", JSONB(none_as_null=True), nullable=False),
        sa.Column("shown", JSONB(none_as_null=True), nullable=False),
        sa.Column("release", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("sent_at", moment, nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("retry_helps", sa.Boolean(), nullable=True),
        sa.Column("history", JSONB(), nullable=False),
        sa.CheckConstraint(
            "state IN ('previewed', 'submitted', 'scheduled', 'applied', 'failed', 'expired', 'cancelled')",
            name=op.f("seat_changes_state_check"),
        ),
        sa.CheckConstraint(
            "(state IN ('previewed', 'expired')) = (sent_at IS NULL)", name=op.f("seat_changes_sent_check")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("seat_changes_account_id_fkey")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("seat_changes_subscription_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("seat_changes_pkey")),
        sa.UniqueConstraint("token_hash", name=op.f("seat_changes_token_hash_key")),
    )
    op.create_index(
        "seat_changes_one_under_way",
        "seat_changes",
        ["subscription_id"],
        unique=True,
        postgresql_where=sa.text("state = 'submitted'"),
    )
    is_open = sa.text("state IN ('submitted', 'scheduled')")
    op.create_index(op.f("seat_changes_next_at_idx"), "seat_changes", ["next_at"], postgresql_where=is_open)
    op.create_index(
        op.f("seat_changes_account_id_created_at_idx"), "seat_changes", ["account_id", "created_at"]
    )
    op.create_index(op.f("seat_changes_state_created_at_idx"), "seat_changes", ["state", "created_at"])
    op.create_index(
        op.f("seat_changes_subscription_id_sent_at_idx"), "seat_changes", ["subscription_id", "sent_at"]
    )


def downgrade() -> None:
    op.drop_table("seat_changes")
