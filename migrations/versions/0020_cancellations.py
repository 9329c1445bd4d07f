"""Cancellations of subscriptions: previewed, sent once, found at the provider, and followed until the end.

Older processes do not know the table. What they see of a cancellation is stored by the next sync of a newer
one.

Revision ID: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "cancellations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=True),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ends_at", moment, nullable=True),
        sa.Column("basis", sa.Text(), nullable=True),
        sa.Column("shown", JSONB(none_as_null=True), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("undo_actor", sa.Text(), nullable=True),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", moment, nullable=True),
        sa.Column("sent_at", moment, nullable=True),
        sa.Column("undo_sent_at", moment, nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("retry_helps", sa.Boolean(), nullable=True),
        sa.Column("history", JSONB(), nullable=False),
        sa.CheckConstraint(
            "state IN ('previewed', 'submitted', 'scheduled', 'applied', 'failed', 'expired', 'undone')",
            name=op.f("cancellations_state_check"),
        ),
        sa.CheckConstraint("kind IN ('now', 'at_renewal')", name=op.f("cancellations_kind_check")),
        sa.CheckConstraint(
            "state NOT IN ('previewed', 'expired') OR sent_at IS NULL", name=op.f("cancellations_sent_check")
        ),
        sa.CheckConstraint(
            "undo_sent_at IS NULL OR state = 'scheduled'", name=op.f("cancellations_undo_is_pending_check")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("cancellations_account_id_fkey")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("cancellations_subscription_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("cancellations_pkey")),
        sa.UniqueConstraint("token_hash", name=op.f("cancellations_token_hash_key")),
    )
    for name, state in {"one_under_way": "submitted", "one_scheduled": "scheduled"}.items():
        op.create_index(
            f"cancellations_{name}",
            "cancellations",
            ["subscription_id"],
            unique=True,
            postgresql_where=sa.text(f"state = '{state}'"),
        )
    op.create_index(
        op.f("cancellations_next_at_idx"),
        "cancellations",
        ["next_at"],
        postgresql_where=sa.text("state = 'submitted' OR undo_sent_at IS NOT NULL"),
    )
    op.create_index(
        op.f("cancellations_created_at_idx"),
        "cancellations",
        ["created_at"],
        postgresql_where=sa.text("state IN ('previewed', 'expired')"),
    )
    for column in ("subscription_id", "account_id"):
        op.create_index(
            op.f(f"cancellations_{column}_created_at_idx"), "cancellations", [column, "created_at"]
        )


def downgrade() -> None:
    op.drop_table("cancellations")
