"""Generations: the catalogue and release by which accounts are evaluated.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "generations",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("catalog_digest", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("generations_pkey")),
    )
    op.create_index(
        op.f("generations_catalog_digest_release_idx"), "generations", ["catalog_digest", "release"]
    )


def downgrade() -> None:
    op.drop_table("generations")
