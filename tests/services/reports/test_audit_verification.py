"""The audit's chain: whatever is done to kept rows behind our back is told, and in which row it shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC
from hashlib import sha256

import pytest
from sqlalchemy import Engine, select, text

import migrations
from domain.catalog.model import Catalog
from domain.errors import AccountNotFound
from models.audit import AuditRow
from models.database import Sessions, connect, session_factory
from services.ledger import accounts, claims
from services.ledger.claims import ClaimRequest
from services.reports import audit_verification
from services.reports.audit_verification import VerificationResult
from tests.factories import a_catalog, a_cause
from tests.servers import Databases


@pytest.fixture
def catalog() -> Catalog:
    return a_catalog("[free]\nincluded = { full = 5 }\n")


@pytest.fixture(autouse=True)
def history(sessions: Sessions, catalog: Catalog) -> None:
    """Five rows of acme, four of other, written in turn."""
    for account_id in ("acme", "other"):
        with sessions.begin() as session:
            accounts.open_account(session, account_id, catalog, a_cause())
    for member_id in ("ada", "bob", "eve"):
        for account_id in ("acme", "other"):
            seat(sessions, catalog, member_id, account_id)
    seat(sessions, catalog, "client", role="client")


def seat(
    sessions: Sessions, catalog: Catalog, member_id: str, account_id: str = "acme", role: str = "member"
) -> None:
    with sessions.begin() as session:
        claims.claim(session, account_id, ClaimRequest(member_id=member_id, role=role), catalog, a_cause())


def tamper(sessions: Sessions, *statements: str) -> None:
    """With the rights of the database's owner, past every trigger."""
    with sessions.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            session.execute(text(statement))


def checked(sessions: Sessions, *, limit: int = 100) -> VerificationResult:
    with sessions() as session:
        return audit_verification.verify(session, after=None, limit=limit)


def rows(sessions: Sessions, account_id: str = "acme") -> Sequence[AuditRow]:
    with sessions() as session:
        wanted = select(AuditRow).where(AuditRow.account_id == account_id).order_by(AuditRow.id)
        return session.scalars(wanted).all()


def the_break(sessions: Sessions) -> tuple[int | None, str]:
    """In which row of acme's the only break shows, and why."""
    (found,) = checked(sessions).breaks
    assert found.account_id == "acme"
    return found.row_id, found.problem


def test_what_was_written_holds(sessions: Sessions):
    assert checked(sessions) == VerificationResult(accounts=2, rows=9, breaks=[], last=None)


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'key:somebody'",
        "at = at + interval '1 microsecond'",
        "reason = ''",
        "event_id = 'msg_1'",
        "fence = 1",
        "member_id = NULL",
        "after = jsonb_set(after, '{seats,full,active}', '1')",
        'subject_after = subject_after || \'{"role": "admin"}\'',
        "subject_before = '{}'",
        "hash = sha256('')",
    ],
)
def test_a_changed_row_is_reported(sessions: Sessions, change: str):
    third = rows(sessions)[2].id
    tamper(sessions, f"UPDATE audit SET {change} WHERE id = {third}")
    assert the_break(sessions) == (third, "the row was modified: its hash does not match its content")


def test_a_row_that_was_given_another_predecessor_is_reported(sessions: Sessions):
    ids = [row.id for row in rows(sessions)]
    tamper(sessions, f"UPDATE audit SET previous = sha256('') WHERE id = {ids[2]}")
    assert the_break(sessions)[0] == ids[2]


def test_a_deleted_row_is_reported_by_the_one_after_it(sessions: Sessions):
    ids = [row.id for row in rows(sessions)]
    tamper(sessions, f"DELETE FROM audit WHERE id = {ids[2]}")
    assert the_break(sessions) == (
        ids[3],
        f"the row does not follow row {ids[1]}: rows between them were deleted or reordered",
    )


def test_a_deleted_beginning_is_reported(sessions: Sessions):
    ids = [row.id for row in rows(sessions)]
    tamper(sessions, f"DELETE FROM audit WHERE id = {ids[0]}")
    assert the_break(sessions) == (ids[1], "the account's rows before it are missing")


def test_a_deleted_tail_is_reported_though_no_seat_moved_in_it(sessions: Sessions):
    ids = [row.id for row in rows(sessions)]
    tamper(sessions, f"DELETE FROM audit WHERE id = {ids[-1]}")
    assert the_break(sessions) == (ids[-2], f"the rows after it are missing, up to row {ids[-1]}")


def test_a_deleted_tail_is_reported_even_after_more_was_written(sessions: Sessions, catalog: Catalog):
    ids = [row.id for row in rows(sessions)]
    tamper(sessions, f"DELETE FROM audit WHERE id = {ids[-1]}")
    seat(sessions, catalog, "late")
    row_id, problem = the_break(sessions)
    assert row_id == rows(sessions)[-1].id
    assert problem.startswith(f"the row does not follow row {ids[-2]}")


def test_all_deleted_rows_of_an_account_is_reported(sessions: Sessions):
    newest = rows(sessions)[-1].id
    tamper(sessions, "DELETE FROM audit WHERE account_id = 'acme'")
    assert the_break(sessions) == (None, f"all its rows are missing, up to row {newest}")


def test_a_deleted_account_is_reported(sessions: Sessions):
    tamper(sessions, "DELETE FROM accounts WHERE id = 'acme'")
    assert the_break(sessions)[1] == "the account's row was deleted"


def test_two_rows_that_changed_places_are_reported(sessions: Sessions):
    second, third = (row.id for row in rows(sessions)[1:3])
    tamper(
        sessions,
        f"UPDATE audit SET id = -1 WHERE id = {second}",
        f"UPDATE audit SET id = {second} WHERE id = {third}",
        f"UPDATE audit SET id = {third} WHERE id = -1",
    )
    assert the_break(sessions)[0] == second


# A row with hashes of its own, as somebody would make it who knows how.
FORGED = """
INSERT INTO audit (id, at, account_id, actor, source, reason, before, after, previous, hash)
OVERRIDING SYSTEM VALUE
SELECT {id}, at, account_id, 'forger', source, reason, after, after, hash, ''
FROM audit WHERE account_id = 'acme' AND id < {id} ORDER BY id DESC LIMIT 1
"""
SEALED = "UPDATE audit SET hash = audit_hash(audit) WHERE id = {id}"


def test_a_inserted_row_with_a_sound_hash_is_reported_by_the_next_one(sessions: Sessions):
    ids = [row.id for row in rows(sessions)]
    between = ids[1] + 1
    tamper(
        sessions,
        "DELETE FROM audit WHERE account_id = 'other'; DELETE FROM audit_heads WHERE account_id = 'other'",
        FORGED.format(id=between),
        SEALED.format(id=between),
    )
    assert the_break(sessions) == (
        ids[2],
        f"this row and row {between} follow the same row: one of them was inserted",
    )


def test_a_inserted_row_at_the_end_is_reported(sessions: Sessions):
    newest = rows(sessions)[-1].id
    tamper(sessions, FORGED.format(id=newest + 1000), SEALED.format(id=newest + 1000))
    assert the_break(sessions) == (
        newest + 1000,
        f"the row was inserted: the newest row that was written is row {newest}",
    )


def test_a_balance_changed_without_an_audit_row_is_reported(sessions: Sessions):
    newest = rows(sessions)[-1].id
    tamper(
        sessions,
        "UPDATE accounts SET seats = jsonb_set(seats, '{full,included}', '50') WHERE id = 'acme'",
    )
    row_id, problem = the_break(sessions)
    assert (row_id, "changed without an audit row" in problem) == (newest, True)


def test_a_balance_changed_without_an_audit_row_is_reported_even_after_the_next_change(
    sessions: Sessions, catalog: Catalog
):
    tamper(
        sessions,
        "UPDATE accounts SET seats = jsonb_set(seats, '{full,included}', '50') WHERE id = 'acme'",
    )
    seat(sessions, catalog, "late")
    row_id, problem = the_break(sessions)
    assert (row_id, "its `before` is not" in problem) == (rows(sessions)[-1].id, True)


def test_each_broken_account_is_reported_once_and_the_others_hold(sessions: Sessions):
    tamper(sessions, "UPDATE audit SET actor = 'nobody'")
    firsts = [rows(sessions, account_id)[0].id for account_id in ("acme", "other")]
    breaks = checked(sessions).breaks
    assert [(one.account_id, one.row_id) for one in breaks] == [("acme", firsts[0]), ("other", firsts[1])]


def test_accounts_are_gone_over_in_slices(sessions: Sessions):
    tamper(sessions, "UPDATE audit SET actor = 'nobody' WHERE account_id = 'other'")
    with sessions() as session:
        first = audit_verification.verify(session, after=None, limit=1)
    with sessions() as session:
        second = audit_verification.verify(session, after=first.last, limit=1)
    assert (first.accounts, first.rows, first.breaks, first.last) == (1, 5, [], "acme")
    assert (second.accounts, second.rows, len(second.breaks), second.last) == (1, 4, 1, None)


def test_one_account_can_be_asked_for(sessions: Sessions):
    tamper(sessions, "UPDATE audit SET actor = 'nobody' WHERE account_id = 'other'")
    with sessions() as session:
        assert audit_verification.verify_account(session, "acme") == VerificationResult(
            accounts=1, rows=5, breaks=[], last=None
        )
    with sessions() as session, pytest.raises(AccountNotFound):
        audit_verification.verify_account(session, "nobody")


def test_what_is_rolled_back_leaves_the_chain_whole(sessions: Sessions, catalog: Catalog):
    with sessions.begin() as session:
        part = session.begin_nested()
        claims.claim(session, "acme", ClaimRequest(member_id="x", role="member"), catalog, a_cause())
        part.rollback()
        claims.claim(session, "acme", ClaimRequest(member_id="y", role="member"), catalog, a_cause())
    assert checked(sessions).breaks == []


def test_the_hash_can_be_worked_out_without_the_database(sessions: Sessions):
    strange = 'é "quoted" \\ \t\n\x01 😀 </b>'
    with sessions.begin() as session:
        claims.release(session, "acme", "ada", a_cause(actor=strange, reason="", event_id=strange, fence=7))
    for row in rows(sessions):
        fields = [
            row.previous.hex() if row.previous else None,
            row.id,
            f"{row.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            *(row.account_id, row.actor, row.source, row.reason, row.event_id, row.fence),
            *(row.member_id, row.subscription_id),
            *(row.before, row.after, row.subject_before, row.subject_after),
        ]
        assert sha256(json.dumps(fields, ensure_ascii=False).encode()).digest() == row.hash


@pytest.fixture
def old(postgres: Databases) -> Engine:
    """A database from before there was a chain, with rows in it."""
    engine = connect(postgres.create_database("unchained"))
    migrations.upgrade(engine, "0005")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO accounts (id, status, policy, hold, seats, catalog_digest, version) "
                "SELECT name, 'ok', 'strict', '7 days', '{}', '', 1 FROM unnest(ARRAY['a', 'b']) AS name"
            )
        )
        connection.execute(
            text(
                "INSERT INTO audit (account_id, actor, source, reason, before, after) "
                "SELECT (ARRAY['a', 'b'])[1 + n % 2], 'x', 'x', 'x', CASE WHEN n > 2 THEN facts END, facts "
                "FROM generate_series(1, 10) AS n, jsonb_build_object('status', 'ok', 'policy', 'strict', "
                "'deadline', NULL, 'seats', jsonb_build_object()) AS facts"
            )
        )
    yield engine
    engine.dispose()
    postgres.drop_database("unchained")


def test_rows_from_before_are_chained_by_the_migration(old: Engine):
    migrations.upgrade(old)
    assert checked(session_factory(old)) == VerificationResult(accounts=2, rows=10, breaks=[], last=None)


def test_rows_from_before_are_as_guarded_as_others(old: Engine):
    migrations.upgrade(old)
    sessions = session_factory(old)
    tamper(sessions, "UPDATE audit SET actor = 'nobody' WHERE id = 7")
    assert [one.row_id for one in checked(sessions).breaks] == [7]
    with pytest.raises(Exception, match="append-only"), sessions.begin() as session:
        session.execute(text("UPDATE audit SET actor = 'nobody'"))
