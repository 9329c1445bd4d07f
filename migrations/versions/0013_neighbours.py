"""The id of this installation, refused retrieves, and resets of stopped automatic purchases.

Revision ID: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "installation",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.CheckConstraint("is_only", name=op.f("installation_one_row_check")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("installation_pkey")),
    )
    op.execute("INSERT INTO installation DEFAULT VALUES")
    op.add_column("subscriptions", sa.Column("refused_since", moment, nullable=True))
    op.create_table(
        "purchase_resets",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("reset_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("purchase_resets_account_id_fkey")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("purchase_resets_pkey")),
    )


def downgrade() -> None:
    op.drop_table("purchase_resets")
    op.drop_column("subscriptions", "refused_since")
    op.drop_table("installation")
