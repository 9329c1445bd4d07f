"""Reconcile: passes that can be resumed, routine syncs, and the cause and state of drift findings.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DUE = sa.text("hint > synced AND dead_reason IS NULL")


def upgrade() -> None:
    op.create_table(
        "reconcile_passes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("spacing", sa.Interval(), nullable=False),
        sa.Column("pauses_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_page", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("given_up", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("listed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unheard_of", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("differing", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("vanished", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ends_with", sa.Text(), nullable=True),
        sa.Column("end_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("newest_first", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("oldest", sa.DateTime(timezone=True), nullable=True),
        sa.Column("repeated", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("reconcile_passes_pkey")),
    )
    op.create_index(
        "reconcile_passes_one_under_way",
        "reconcile_passes",
        ["provider"],
        unique=True,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "reconcile_sightings",
        sa.Column("pass_id", sa.BigInteger(), nullable=False),
        sa.Column("first_page", sa.BigInteger(), nullable=False),
        sa.Column("subscription_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["pass_id"],
            ["reconcile_passes.id"],
            name=op.f("reconcile_sightings_pass_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("pass_id", "first_page", name=op.f("reconcile_sightings_pkey")),
    )
    op.add_column(
        "subscriptions", sa.Column("routine", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("subscriptions", sa.Column("fingerprint", sa.Text(), nullable=True))
    op.add_column("subscriptions", sa.Column("unlisted_since", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("subscriptions_next_at_idx", table_name="subscriptions", postgresql_where=_DUE)
    op.create_index(
        "subscriptions_routine_next_at_idx", "subscriptions", ["routine", "next_at"], postgresql_where=_DUE
    )
    _let_findings_tell_their_end()


def _let_findings_tell_their_end() -> None:
    op.add_column("drift_findings", sa.Column("cause", sa.Text(), server_default="unknown", nullable=False))
    op.add_column("drift_findings", sa.Column("state", sa.Text(), server_default="open", nullable=False))
    op.add_column("drift_findings", sa.Column("held_because", sa.Text(), nullable=True))
    op.execute("UPDATE drift_findings SET state = 'agreed' WHERE closed_at IS NOT NULL")
    op.execute(
        "UPDATE drift_findings SET state = 'held', held_because = message WHERE closed_at IS NULL AND kind IN"
        " ('unknown_status', 'unknown_product', 'unknown_addon', 'addons_missing', 'absurd_quantity',"
        " 'absurd_total', 'not_at_provider')"
    )
    op.create_check_constraint(
        op.f("drift_findings_state_check"),
        "drift_findings",
        "state IN ('open', 'held', 'repaired', 'agreed')",
    )
    op.create_check_constraint(
        op.f("drift_findings_closed_check"),
        "drift_findings",
        "(state IN ('repaired', 'agreed')) = (closed_at IS NOT NULL)",
    )
    op.create_check_constraint(
        op.f("drift_findings_held_for_a_reason_check"),
        "drift_findings",
        "state <> 'held' OR held_because IS NOT NULL",
    )
    op.create_index("drift_findings_subject_first_seen_idx", "drift_findings", ["subject", "first_seen"])
    op.create_index("drift_findings_state_id_idx", "drift_findings", ["state", "id"])
    op.create_index("drift_findings_first_seen_idx", "drift_findings", ["first_seen"])


def downgrade() -> None:
    for name in ("first_seen", "state_id", "subject_first_seen"):
        op.drop_index(f"drift_findings_{name}_idx", table_name="drift_findings")
    for name in ("held_for_a_reason", "closed", "state"):
        op.drop_constraint(op.f(f"drift_findings_{name}_check"), "drift_findings")
    for name in ("held_because", "state", "cause"):
        op.drop_column("drift_findings", name)
    op.drop_index("subscriptions_routine_next_at_idx", table_name="subscriptions", postgresql_where=_DUE)
    op.create_index("subscriptions_next_at_idx", "subscriptions", ["next_at"], postgresql_where=_DUE)
    op.drop_column("subscriptions", "unlisted_since")
    op.drop_column("subscriptions", "fingerprint")
    op.drop_column("subscriptions", "routine")
    op.drop_table("reconcile_sightings")
    op.drop_table("reconcile_passes")
