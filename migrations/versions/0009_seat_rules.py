"""Rules of single seat types: what differs from the account's own.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A constant default rewrites no row, however many there are.
    op.add_column(
        "accounts", sa.Column("seat_terms", postgresql.JSONB(), server_default="{}", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("accounts", "seat_terms")
