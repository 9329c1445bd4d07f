"""Policies per account and seat type; the name and last activity of members.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("seat_policies", JSONB, server_default="{}", nullable=False))
    op.add_column("accounts", sa.Column("grace", sa.Interval(), server_default="14 days", nullable=False))
    for flag in ("suspend_after_grace", "unverified"):
        op.add_column("accounts", sa.Column(flag, sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("accounts", sa.Column("override", JSONB, nullable=True))
    op.add_column("accounts", sa.Column("notified", JSONB, nullable=True))
    op.add_column("assignments", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("assignments", sa.Column("last_active_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("subscriptions", sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("subscriptions", sa.Column("counted_product", sa.Text(), nullable=True))
    # Earlier syncs did not record whether their result could be counted. If the subscription has seats,
    # assume that the last result could.
    op.execute(
        "UPDATE subscriptions SET counted_at = verified_at, counted_product = snapshot->>'product_id'"
        " WHERE seats IS NOT NULL"
    )
    op.execute(
        "UPDATE accounts SET unverified = true WHERE id IN"
        " (SELECT account_id FROM subscriptions WHERE unverified IS NOT NULL)"
    )


def downgrade() -> None:
    for column in ("counted_product", "counted_at"):
        op.drop_column("subscriptions", column)
    for column in ("last_active_at", "name"):
        op.drop_column("assignments", column)
    for column in ("notified", "override", "unverified", "suspend_after_grace", "grace", "seat_policies"):
        op.drop_column("accounts", column)
