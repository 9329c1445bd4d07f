"""Inbox: an index for the pending events and dead letters of a subscription.

The index is built concurrently, because the inbox may hold millions of rows.

Revision ID: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_PENDING = "inbox_subscription_id_idx"
_UNFINISHED = "inbox_unfinished"


def upgrade() -> None:
    _replace(_PENDING, by=_UNFINISHED, where="state IN ('pending', 'dead')")


def downgrade() -> None:
    _replace(_UNFINISHED, by=_PENDING, where="state = 'pending'")


def _replace(old: str, *, by: str, where: str) -> None:
    """Build the index `by`, again if an earlier attempt was interrupted, then drop the index `old`."""
    with op.get_context().autocommit_block():
        op.drop_index(by, "inbox", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            by, "inbox", ["subscription_id"], postgresql_where=sa.text(where), postgresql_concurrently=True
        )
        op.drop_index(old, "inbox", if_exists=True, postgresql_concurrently=True)
