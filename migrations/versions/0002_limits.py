"""Policies per account and seat type, and what is known of members.

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
    op.add_column("accounts", sa.Column("override", JSONB, nullable=True))
    op.add_column("accounts", sa.Column("notified", JSONB, nullable=True))
    op.add_column("assignments", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("assignments", sa.Column("last_active_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for column in ("last_active_at", "name"):
        op.drop_column("assignments", column)
    for column in ("notified", "override", "grace", "seat_policies"):
        op.drop_column("accounts", column)
