"""Migrations that do not stop the service: short waits for locks, and indexes built beside running work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

# An ALTER TABLE that waits for its lock makes everybody who comes after it wait too, readers included. So it
# gives up quickly, and the whole revision is tried again (`migrations/env.py`).
LOCK_TIMEOUT: Final = "200ms"

_IS_VALID = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def build_index(name: str, table: str, columns: Sequence[str], *, where: str | None = None) -> None:
    """Build an index while others read and write the table. Does nothing if there is one of this name.

    An interrupted build leaves an index that is not valid, which is never used but kept up to date. It is
    dropped first. Waits until all transactions that are open now have ended, however long; nobody waits for
    that.
    """
    with op.get_context().autocommit_block():
        is_valid = op.get_bind().scalar(_IS_VALID, {"name": name})
        if is_valid:
            return
        op.execute("SET lock_timeout = 0")
        if is_valid is False:
            op.drop_index(name, table, postgresql_concurrently=True)
        condition = None if where is None else sa.text(where)
        op.create_index(name, table, columns, postgresql_where=condition, postgresql_concurrently=True)
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def remove_index(name: str, table: str) -> None:
    """Drop an index while others read and write the table. Does nothing if there is none of this name."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
