"""An index of the notices that may be sent any number of times, by which the old ones are deleted.

The others are kept for more than a year, and were looked at each hour. Built while others read and write the
table. If this is interrupted, the next run builds the index again.

Revision ID: 0021
"""

from __future__ import annotations

from migrations.online import build_index, remove_index

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_INDEX, _TABLE = "notices_of_no_occasion", "notices"


def upgrade() -> None:
    build_index(_INDEX, _TABLE, ["created_at"], where="once IS NULL")


def downgrade() -> None:
    remove_index(_INDEX, _TABLE)
