"""Rules per seat type, where they differ from the account's rules.

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
    # Adding a column with a constant default does not rewrite the table's rows.
    op.add_column(
        "accounts", sa.Column("seat_terms", postgresql.JSONB(), server_default="{}", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("accounts", "seat_terms")
