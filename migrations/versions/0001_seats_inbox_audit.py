"""Accounts, assignments, subscriptions, webhook inbox, audit, drift findings, API keys, idempotency keys.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_REFUSE = """
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only';
END $$
"""
_GUARD = """
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
"""


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("hold", sa.Interval(), nullable=False),
        sa.Column("seats", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("evaluate_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("catalog_digest", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "status IN ('ok', 'over_limit', 'grace', 'blocked', 'suspended', 'ended')",
            name=op.f("accounts_status_check"),
        ),
        sa.CheckConstraint(
            "NOT jsonb_path_exists(seats, '$.*.* ? (@.type() == \"number\" && @ < 0)')",
            name=op.f("accounts_no_negative_count_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("accounts_pkey")),
    )
    op.create_index(op.f("accounts_catalog_digest_idx"), "accounts", ["catalog_digest"], unique=False)
    op.create_index(
        op.f("accounts_evaluate_at_idx"),
        "accounts",
        ["evaluate_at"],
        unique=False,
        postgresql_where=sa.text("evaluate_at IS NOT NULL"),
    )
    op.create_index(op.f("accounts_status_id_idx"), "accounts", ["status", "id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "scopes <@ ARRAY['read', 'claim', 'billing', 'admin']::text[]", name=op.f("api_keys_scopes_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
    )
    op.create_table(
        "drift_findings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("ours", sa.Text(), nullable=True),
        sa.Column("theirs", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("drift_findings_pkey")),
    )
    op.create_index(
        "drift_findings_one_open",
        "drift_findings",
        ["subject", "kind", "field"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("idempotency_keys_pkey")),
    )
    op.create_table(
        "inbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "(state IN ('ignored', 'dead')) = (reason IS NOT NULL)", name=op.f("inbox_reason_given_check")
        ),
        sa.CheckConstraint(
            "state <> 'pending' OR subscription_id IS NOT NULL",
            name=op.f("inbox_pending_has_subscription_check"),
        ),
        sa.CheckConstraint("state IN ('pending', 'done', 'ignored', 'dead')", name=op.f("inbox_state_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("inbox_pkey")),
        sa.UniqueConstraint("provider", "event_id", name=op.f("inbox_provider_event_id_key")),
    )
    op.create_index(op.f("inbox_received_at_idx"), "inbox", ["received_at"], unique=False)
    op.create_index(
        op.f("inbox_state_id_idx"),
        "inbox",
        ["state", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        op.f("inbox_subscription_id_idx"),
        "inbox",
        ["subscription_id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "ticks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", "slot", name=op.f("ticks_pkey")),
    )
    op.create_table(
        "assignments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("seat_type", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("protected", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'held') = (expires_at IS NOT NULL)", name=op.f("assignments_held_expires_check")
        ),
        sa.CheckConstraint(
            "(state = 'released') = (released_at IS NOT NULL)", name=op.f("assignments_released_at_check")
        ),
        sa.CheckConstraint(
            "state IN ('held', 'active', 'suspended', 'released')", name=op.f("assignments_state_check")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("assignments_account_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("assignments_pkey")),
    )
    op.create_index(
        "assignments_expiry",
        "assignments",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_index(
        "assignments_one_per_email",
        "assignments",
        ["account_id", "email"],
        unique=True,
        postgresql_where=sa.text("state <> 'released' AND email IS NOT NULL"),
    )
    op.create_index(
        "assignments_one_per_member",
        "assignments",
        ["account_id", "member_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'released'"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("member_id", sa.Text(), nullable=True),
        sa.Column("subscription_id", sa.Text(), nullable=True),
        sa.Column("before", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column(
            "subject_before", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("subject_after", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("audit_account_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index(op.f("audit_account_id_id_idx"), "audit", ["account_id", "id"], unique=False)
    op.create_index(op.f("audit_subscription_id_id_idx"), "audit", ["subscription_id", "id"], unique=False)
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("linked_by", sa.Text(), nullable=True),
        sa.Column("hint", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("synced", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rung_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("dead_reason", sa.Text(), nullable=True),
        sa.Column("snapshot", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("unverified", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seats", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("status_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("effect", sa.Text(), nullable=True),
        sa.Column("past_due_ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "linked_by IN ('app', 'metadata', 'own_id')", name=op.f("subscriptions_linked_by_check")
        ),
        sa.CheckConstraint(
            "(account_id IS NULL) = (linked_by IS NULL)", name=op.f("subscriptions_linked_check")
        ),
        sa.CheckConstraint(
            "(snapshot IS NULL) = (verified_at IS NULL)", name=op.f("subscriptions_verified_check")
        ),
        sa.CheckConstraint(
            "0 <= synced AND synced <= hint", name=op.f("subscriptions_synced_within_hint_check")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("subscriptions_account_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("subscriptions_pkey")),
    )
    op.create_index(op.f("subscriptions_account_id_idx"), "subscriptions", ["account_id"], unique=False)
    op.create_index(op.f("subscriptions_looked_at_idx"), "subscriptions", ["looked_at"], unique=False)
    op.create_index(
        op.f("subscriptions_next_at_idx"),
        "subscriptions",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("hint > synced AND dead_reason IS NULL"),
    )
    op.execute(_REFUSE)
    op.execute(_GUARD)


def downgrade() -> None:
    op.drop_index(
        op.f("subscriptions_next_at_idx"),
        table_name="subscriptions",
        postgresql_where=sa.text("hint > synced AND dead_reason IS NULL"),
    )
    op.drop_index(op.f("subscriptions_looked_at_idx"), table_name="subscriptions")
    op.drop_index(op.f("subscriptions_account_id_idx"), table_name="subscriptions")
    op.drop_table("subscriptions")
    op.drop_index(op.f("audit_subscription_id_id_idx"), table_name="audit")
    op.drop_index(op.f("audit_account_id_id_idx"), table_name="audit")
    op.drop_table("audit")
    op.drop_index(
        "assignments_one_per_member",
        table_name="assignments",
        postgresql_where=sa.text("state <> 'released'"),
    )
    op.drop_index(
        "assignments_one_per_email",
        table_name="assignments",
        postgresql_where=sa.text("state <> 'released' AND email IS NOT NULL"),
    )
    op.drop_index("assignments_expiry", table_name="assignments", postgresql_where=sa.text("state = 'held'"))
    op.drop_table("assignments")
    op.drop_table("ticks")
    op.drop_index(
        op.f("inbox_subscription_id_idx"), table_name="inbox", postgresql_where=sa.text("state = 'pending'")
    )
    op.drop_index(op.f("inbox_state_id_idx"), table_name="inbox", postgresql_where=sa.text("state = 'dead'"))
    op.drop_index(op.f("inbox_received_at_idx"), table_name="inbox")
    op.drop_table("inbox")
    op.drop_table("idempotency_keys")
    op.drop_index(
        "drift_findings_one_open", table_name="drift_findings", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.drop_table("drift_findings")
    op.drop_table("api_keys")
    op.drop_index(op.f("accounts_status_id_idx"), table_name="accounts")
    op.drop_index(
        op.f("accounts_evaluate_at_idx"),
        table_name="accounts",
        postgresql_where=sa.text("evaluate_at IS NOT NULL"),
    )
    op.drop_index(op.f("accounts_catalog_digest_idx"), table_name="accounts")
    op.drop_table("accounts")
    op.execute("DROP FUNCTION audit_is_append_only()")
