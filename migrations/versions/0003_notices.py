"""Notices, notice endpoints, and the deliveries of notices to endpoints.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notice_endpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secrets", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("types", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("busy_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("cardinality(secrets) > 0", name=op.f("notice_endpoints_has_secret_check")),
        sa.CheckConstraint("cardinality(types) > 0", name=op.f("notice_endpoints_has_type_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("notice_endpoints_pkey")),
        sa.UniqueConstraint("url", name=op.f("notice_endpoints_url_key")),
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", JSONB(none_as_null=True), nullable=False),
        sa.Column("once", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("notices_account_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("notices_pkey")),
        sa.UniqueConstraint("message_id", name=op.f("notices_message_id_key")),
        sa.UniqueConstraint("once", name=op.f("notices_once_key")),
    )
    op.create_index(op.f("notices_account_id_id_idx"), "notices", ["account_id", "id"])
    op.create_index(op.f("notices_created_at_idx"), "notices", ["created_at"])
    op.create_table(
        "notice_deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'dead')", name=op.f("notice_deliveries_state_check")
        ),
        sa.CheckConstraint(
            "(state = 'delivered') = (delivered_at IS NOT NULL)",
            name=op.f("notice_deliveries_delivered_check"),
        ),
        sa.CheckConstraint(
            "state <> 'dead' OR last_error IS NOT NULL", name=op.f("notice_deliveries_reason_given_check")
        ),
        sa.ForeignKeyConstraint(
            ["notice_id"],
            ["notices.id"],
            name=op.f("notice_deliveries_notice_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["notice_endpoints.id"],
            name=op.f("notice_deliveries_endpoint_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("notice_deliveries_pkey")),
        sa.UniqueConstraint(
            "notice_id", "endpoint_id", name=op.f("notice_deliveries_notice_id_endpoint_id_key")
        ),
    )
    op.create_index(
        op.f("notice_deliveries_endpoint_id_next_at_idx"),
        "notice_deliveries",
        ["endpoint_id", "next_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        op.f("notice_deliveries_notice_id_idx"),
        "notice_deliveries",
        ["notice_id"],
        postgresql_where=sa.text("state = 'dead'"),
    )


def downgrade() -> None:
    for table in ("notice_deliveries", "notices", "notice_endpoints"):
        op.drop_table(table)
