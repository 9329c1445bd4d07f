"""Indexes for queries that took longer the more accounts, members and events there are.

Built concurrently, one after the other. If this is interrupted, the next run continues with the index that is
missing.

Revision ID: 0018
"""

from __future__ import annotations

from migrations.online import build_index, remove_index

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# Name, table, columns, condition.
_Indexes = tuple[tuple[str, str, list[str], str | None], ...]

_NEW: _Indexes = (
    ("assignments_account_id_id_idx", "assignments", ["account_id", "id"], None),
    ("assignments_held", "assignments", ["account_id", "expires_at"], "state = 'held'"),
    ("accounts_evaluated_by", "accounts", ["catalog_digest"], "deleted_at IS NULL"),
    ("subscriptions_verify_due_at_idx", "subscriptions", ["verify_due_at"], None),
    ("subscriptions_verified_at_idx", "subscriptions", ["verified_at"], None),
    ("subscriptions_dead", "subscriptions", ["id"], "dead_reason IS NOT NULL"),
    (
        "subscriptions_woken",
        "subscriptions",
        ["rung_at"],
        "rung_at IS NOT NULL AND routine AND hint > synced AND dead_reason IS NULL",
    ),
    ("inbox_pending", "inbox", ["received_at"], "state = 'pending'"),
    ("inbox_ignored", "inbox", ["id"], "state = 'ignored'"),
    ("drift_findings_closed_at_idx", "drift_findings", ["closed_at"], None),
    ("idempotency_keys_created_at_idx", "idempotency_keys", ["created_at"], None),
)
# No query asks for deleted accounts by catalogue, or for invitations whatever their account.
_OLD: _Indexes = (
    ("accounts_catalog_digest_idx", "accounts", ["catalog_digest"], None),
    ("assignments_expiry", "assignments", ["expires_at"], "state = 'held'"),
)


def upgrade() -> None:
    _replace(_OLD, by=_NEW)


def downgrade() -> None:
    _replace(_NEW, by=_OLD)


def _replace(old: _Indexes, *, by: _Indexes) -> None:
    for name, table, columns, where in by:
        build_index(name, table, columns, where=where)
    for name, table, _, _ in old:
        remove_index(name, table)
