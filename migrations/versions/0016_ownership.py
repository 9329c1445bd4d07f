"""Ownership by checkout and verified figures in separate columns; dismissed findings; deleted accounts.

The installation also records the provider's mode and business that its data belongs to.

Existing links stay as they are. Only subscriptions with figures from a webhook body are rewritten; outside an
outage there are few.

Revision ID: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_LINKED_BY = "linked_by IN ('app', 'checkout', 'metadata', 'own_id')"
_LINKED_BY_BEFORE = "linked_by IN ('app', 'metadata', 'own_id')"
_STATES = "state IN ('open', 'held', 'repaired', 'agreed', 'dismissed')"
_STATES_BEFORE = "state IN ('open', 'held', 'repaired', 'agreed')"
_CLOSED = "(state IN ('open', 'held')) = (closed_at IS NULL)"
_CLOSED_BEFORE = "(state IN ('repaired', 'agreed')) = (closed_at IS NOT NULL)"

# Unverified figures were stored in the columns of the verified ones. The verified figures are restored from
# the audit.
_PART_FIGURES = """
UPDATE subscriptions AS known
SET raised_seats = raised.seats, raised_status = raised.status, raised_effect = raised.effect,
    seats = nullif(verified.facts -> 'seats', CAST('null' AS jsonb)),
    status = verified.facts ->> 'status', effect = NULL
FROM subscriptions AS raised
LEFT JOIN LATERAL (
    SELECT subject_after AS facts FROM audit
    WHERE subscription_id = raised.id AND subject_after ->> 'verified' = 'true'
    ORDER BY id DESC LIMIT 1
) AS verified ON true
WHERE raised.unverified IS NOT NULL AND known.id = raised.id
"""
_JOIN_FIGURES = """
UPDATE subscriptions SET seats = raised_seats, status = raised_status, effect = raised_effect
WHERE unverified IS NOT NULL
"""


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    for name, kind in {
        "refused_accounts": None,
        "checkout_nonce": sa.Text(),
        "raised_seats": JSONB(none_as_null=True),
        "raised_status": sa.Text(),
        "raised_effect": sa.Text(),
        "paid_seats": JSONB(none_as_null=True),
        "unpaid_since": moment,
        "missing_since": moment,
        "gone_at": moment,
    }.items():
        column = (
            sa.Column(name, sa.ARRAY(sa.Text()), server_default="{}", nullable=False)
            if kind is None
            else sa.Column(name, kind, nullable=True)
        )
        op.add_column("subscriptions", column)
    _replace_check("subscriptions", "linked_by", _LINKED_BY)
    op.create_index(
        "subscriptions_one_checkout",
        "subscriptions",
        ["checkout_nonce"],
        unique=True,
        postgresql_where=sa.text("checkout_nonce IS NOT NULL"),
    )
    op.execute(_PART_FIGURES)
    op.add_column("accounts", sa.Column("opened_by_metadata_at", moment, nullable=True))
    op.add_column("accounts", sa.Column("deleted_at", moment, nullable=True))
    op.create_index(
        op.f("accounts_opened_by_metadata_at_idx"),
        "accounts",
        ["opened_by_metadata_at"],
        postgresql_where=sa.text("opened_by_metadata_at IS NOT NULL"),
    )
    op.add_column("drift_findings", sa.Column("closed_because", sa.Text(), nullable=True))
    _replace_check("drift_findings", "state", _STATES)
    _replace_check("drift_findings", "closed", _CLOSED)
    op.create_check_constraint(
        op.f("drift_findings_dismissed_for_a_reason_check"),
        "drift_findings",
        "state <> 'dismissed' OR closed_because IS NOT NULL",
    )
    op.add_column("installation", sa.Column("checkout_secret", sa.LargeBinary(), nullable=True))
    op.add_column("installation", sa.Column("environment", sa.Text(), nullable=True))
    op.add_column("installation", sa.Column("business_id", sa.Text(), nullable=True))


def downgrade() -> None:
    for name in ("business_id", "environment", "checkout_secret"):
        op.drop_column("installation", name)
    op.execute("UPDATE drift_findings SET state = 'agreed' WHERE state = 'dismissed'")
    op.drop_constraint(op.f("drift_findings_dismissed_for_a_reason_check"), "drift_findings")
    _replace_check("drift_findings", "closed", _CLOSED_BEFORE)
    _replace_check("drift_findings", "state", _STATES_BEFORE)
    op.drop_column("drift_findings", "closed_because")
    op.drop_index(op.f("accounts_opened_by_metadata_at_idx"), "accounts")
    op.drop_column("accounts", "deleted_at")
    op.drop_column("accounts", "opened_by_metadata_at")
    op.execute(_JOIN_FIGURES)
    op.drop_index("subscriptions_one_checkout", "subscriptions")
    # The previous release has no 'checkout'. 'app' is its only kind of link that metadata never changes.
    op.execute("UPDATE subscriptions SET linked_by = 'app' WHERE linked_by = 'checkout'")
    _replace_check("subscriptions", "linked_by", _LINKED_BY_BEFORE)
    for name in (
        "gone_at",
        "missing_since",
        "unpaid_since",
        "paid_seats",
        "raised_effect",
        "raised_status",
        "raised_seats",
        "checkout_nonce",
        "refused_accounts",
    ):
        op.drop_column("subscriptions", name)


def _replace_check(table: str, name: str, condition: str) -> None:
    op.drop_constraint(op.f(f"{table}_{name}_check"), table)
    op.create_check_constraint(op.f(f"{table}_{name}_check"), table, condition)
