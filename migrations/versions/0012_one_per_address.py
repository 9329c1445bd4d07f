"""At most one unreleased assignment per account and e-mail key; an index of all assignments of a member.

Revision ID: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # CONCURRENTLY, so that claims are not blocked. An interrupted attempt leaves an invalid index, which is
    # dropped first.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS assignments_one_per_address")
        op.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY assignments_one_per_address "
            "ON assignments (account_id, email_key) "
            "WHERE state <> 'released' AND email_key IS NOT NULL AND NOT email_shared"
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS assignments_of_member")
        op.execute("CREATE INDEX CONCURRENTLY assignments_of_member ON assignments (account_id, member_id)")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS assignments_one_per_email")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS assignments_one_per_email")
        op.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY assignments_one_per_email ON assignments (account_id, email) "
            "WHERE state <> 'released' AND email IS NOT NULL"
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS assignments_of_member")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS assignments_one_per_address")
