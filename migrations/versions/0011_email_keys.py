"""E-mail addresses are compared by a normalised key; existing rows that share a key are marked.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from domain.emails import address_key

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SLICE = 5_000
# Of the unreleased rows of an account with the same key, one stays unmarked: a member before an invitation,
# then the oldest. The others are only marked.
_MARK = """
UPDATE assignments SET email_shared = true
FROM (
    SELECT id, row_number() OVER (PARTITION BY account_id, email_key ORDER BY state = 'held', id) AS place
    FROM assignments WHERE state <> 'released' AND email_key IS NOT NULL
) AS ranked
WHERE assignments.id = ranked.id AND ranked.place > 1
"""
# The previous release compared the stored addresses themselves, so each must be in its normalised spelling.
_RESTORE = """
UPDATE assignments AS kept SET email = email_key
WHERE email <> email_key AND NOT email_shared AND NOT EXISTS (
    SELECT FROM assignments AS other
    WHERE other.account_id = kept.account_id AND other.email_key = kept.email_key AND other.email_shared
)
"""


# Processes of the previous release do not write keys. This trigger sets the key of their rows, correctly for
# ASCII addresses, and removes it with the address.
_KEY = """
CREATE OR REPLACE FUNCTION assignments_email_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.email_key := lower(normalize(NEW.email, NFC));
    RETURN NEW;
END $$
"""
_NEVER_WITHOUT = """
CREATE OR REPLACE TRIGGER assignments_email_key BEFORE INSERT OR UPDATE ON assignments FOR EACH ROW
WHEN ((NEW.email IS NULL) <> (NEW.email_key IS NULL)) EXECUTE FUNCTION assignments_email_key()
"""


def upgrade() -> None:
    op.execute("ALTER TABLE assignments ADD COLUMN IF NOT EXISTS email_key text")
    op.execute("ALTER TABLE assignments ADD COLUMN IF NOT EXISTS email_shared boolean DEFAULT false NOT NULL")
    op.execute(_KEY)
    op.execute(_NEVER_WITHOUT)
    with op.get_context().autocommit_block():
        _fill()
    op.execute(_MARK)


def _fill() -> None:
    """Set the keys of existing rows in slices, each committed separately, so that locks are brief."""
    connection, last = op.get_bind(), 0
    while rows := _next(connection, last):
        last = rows[-1].id
        connection.execute(
            sa.text(
                "UPDATE assignments SET email_key = filled.key "
                "FROM unnest(cast(:ids AS bigint[]), cast(:keys AS text[])) AS filled (id, key) "
                "WHERE assignments.id = filled.id"
            ),
            {"ids": [row.id for row in rows], "keys": [address_key(row.email) for row in rows]},
        )


def _next(connection: sa.Connection, last: int) -> list[sa.Row[tuple[int, str]]]:
    found = connection.execute(
        sa.text(
            "SELECT id, email FROM assignments WHERE id > :last AND email IS NOT NULL "
            "ORDER BY id LIMIT :slice"
        ),
        {"last": last, "slice": _SLICE},
    )
    return list(found)


def downgrade() -> None:
    op.execute(_RESTORE)
    op.execute("DROP TRIGGER assignments_email_key ON assignments")
    op.execute("DROP FUNCTION assignments_email_key()")
    op.drop_column("assignments", "email_shared")
    op.drop_column("assignments", "email_key")
