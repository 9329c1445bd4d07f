"""Notices about seat changes: `seat.change_failed` is called `seat_change.failed` now.

Endpoints that subscribe to it and stored notices get the new name. While older processes still run, a failure
that they see is sent only to endpoints that subscribe to all types.

Revision ID: 0019
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_BEFORE, _AFTER = "seat.change_failed", "seat_change.failed"


def upgrade() -> None:
    _rename(_BEFORE, _AFTER)


def downgrade() -> None:
    _rename(_AFTER, _BEFORE)


def _rename(old: str, new: str) -> None:
    op.execute(
        f"UPDATE notice_endpoints SET types = array_replace(types, '{old}', '{new}') "  # noqa: S608  constants
        f"WHERE '{old}' = ANY (types)"
    )
    op.execute(f"UPDATE notices SET type = '{new}' WHERE type = '{old}'")  # noqa: S608  constants
