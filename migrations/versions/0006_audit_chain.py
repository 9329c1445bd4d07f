"""The audit chain: each audit row has a hash of its content and of the account's previous row.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The hashed fields are described in `services.reports.audit_verification`, which verifies them independently.
_HASH = """
CREATE FUNCTION audit_hash(written audit) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(jsonb_build_array(
        encode(written.previous, 'hex'), written.id,
        to_char(written.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        written.account_id, written.actor, written.source, written.reason, written.event_id, written.fence,
        written.member_id, written.subscription_id,
        written.before, written.after, written.subject_before, written.subject_after
    )::text, 'UTF8'))
$$
"""
# The previous hash comes from a separate table, not from the newest row. So a row deleted at the end of the
# chain is still noticed after further rows are written.
_CHAIN = """
CREATE FUNCTION audit_is_chained() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.previous := (SELECT hash FROM audit_heads WHERE account_id = NEW.account_id);
    NEW.hash := audit_hash(NEW);
    INSERT INTO audit_heads (account_id, row_id, hash) VALUES (NEW.account_id, NEW.id, NEW.hash)
    ON CONFLICT (account_id) DO UPDATE SET row_id = excluded.row_id, hash = excluded.hash;
    RETURN NEW;
END $$
"""
_GUARD = """
CREATE TRIGGER audit_is_chained BEFORE INSERT ON audit
FOR EACH ROW EXECUTE FUNCTION audit_is_chained()
"""

# In the order in which the rows were written: under the account's lock, ids rise.
_CHAIN_OLD_ROWS = """
DO $$
DECLARE
    old audit%ROWTYPE;
    head bytea;
    head_of text;
BEGIN
    FOR old IN SELECT * FROM audit ORDER BY account_id, id LOOP
        old.previous := CASE WHEN old.account_id = head_of THEN head END;
        old.hash := audit_hash(old);
        UPDATE audit SET previous = old.previous, hash = old.hash WHERE id = old.id;
        head_of := old.account_id;
        head := old.hash;
    END LOOP;
END $$
"""
_HEADS = """
INSERT INTO audit_heads (account_id, row_id, hash)
SELECT DISTINCT ON (account_id) account_id, id, hash FROM audit ORDER BY account_id, id DESC
"""


def upgrade() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("audit_heads_account_id_fkey")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("audit_heads_pkey")),
    )
    op.add_column("audit", sa.Column("previous", sa.LargeBinary(), nullable=True))
    op.add_column("audit", sa.Column("hash", sa.LargeBinary(), nullable=True))
    op.execute(_HASH)
    op.execute("ALTER TABLE audit DISABLE TRIGGER audit_is_append_only")
    op.execute(_CHAIN_OLD_ROWS)
    op.execute("ALTER TABLE audit ENABLE TRIGGER audit_is_append_only")
    op.execute(_HEADS)
    op.alter_column("audit", "hash", nullable=False)
    op.execute(_CHAIN)
    op.execute(_GUARD)


def downgrade() -> None:
    op.execute("DROP TRIGGER audit_is_chained ON audit")
    op.execute("DROP FUNCTION audit_is_chained()")
    op.execute("DROP FUNCTION audit_hash(audit)")
    op.drop_column("audit", "hash")
    op.drop_column("audit", "previous")
    op.drop_table("audit_heads")
