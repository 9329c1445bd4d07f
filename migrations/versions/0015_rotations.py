"""The times when older secrets of notice endpoints were replaced; each signs for one more day.

Revision ID: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moments = postgresql.ARRAY(sa.DateTime(timezone=True))
    op.add_column(
        "notice_endpoints", sa.Column("earlier_rotations", moments, server_default="{}", nullable=False)
    )
    # Before, at most one secret was stored after the second, and it signed as long as the second did.
    op.execute(
        "UPDATE notice_endpoints SET earlier_rotations = "
        "array_fill(rotated_at, ARRAY[cardinality(secrets) - 2]) WHERE cardinality(secrets) > 2"
    )


def downgrade() -> None:
    op.execute("UPDATE notice_endpoints SET secrets = secrets[1:3] WHERE cardinality(secrets) > 3")
    op.drop_column("notice_endpoints", "earlier_rotations")
