"""A role that means another seat type: its members move with it, and every number follows."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from domain.catalog.model import Catalog
from domain.catalog.reader import parse
from models.account import Account
from models.audit import AuditRow
from models.database import Sessions
from services.ledger import accounts, claims, role_moves
from services.ledger.claims import ClaimRequest
from services.ledger.locked_account import lock_account
from services.ledger.role_moves import RoleMove
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.factories import CATALOG_TEXT, a_catalog, a_cause

FREE = "[free]\nincluded = { full = 5, viewer = 1 }\n"


@pytest.fixture
def before(sessions: Sessions) -> Catalog:
    """The catalogue by which `acme` was opened."""
    catalog = a_catalog(FREE)
    with sessions.begin() as session:
        accounts.open_account(session, "acme", catalog, a_cause())
    return catalog


def where(**roles: str) -> Catalog:
    """The same catalogue where these roles mean something else."""
    written = CATALOG_TEXT
    for role, seat_type in roles.items():
        written = written.replace(f'{role} = "{ROLES[role]}"', f'{role} = "{seat_type}"')
    return parse(written + FREE, "changed")


ROLES = {"admin": "full", "member": "full", "viewer": "viewer", "client": "free"}


def seat(sessions: Sessions, catalog: Catalog, *people: tuple[str, str], **more) -> None:
    with sessions.begin() as session:
        for member_id, role in people:
            claims.claim(
                session, "acme", ClaimRequest(member_id=member_id, role=role, **more), catalog, a_cause()
            )


def asked(sessions: Sessions, catalog: Catalog) -> list[RoleMove]:
    with sessions() as session:
        return list(role_moves.pending(session, "acme", catalog))


def carry_out(sessions: Sessions, catalog: Catalog) -> int:
    with sessions.begin() as session:
        account = lock_account(session, "acme")
        moved = role_moves.move_all(account, catalog, a_cause())
        account.save()
        return moved


def counts(sessions: Sessions, seat_type: str) -> tuple[int, int]:
    with sessions() as session:
        balance = session.get(Account, "acme").seats[seat_type]
        return balance["active"], balance["held"]


def check(sessions: Sessions) -> None:
    with sessions() as session:
        assert_audit_matches_the_tables(session)
        assert_balances_count_the_assignments(session)


def test_the_same_meaning_moves_nobody(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"), ("guest", "client"))
    assert asked(sessions, before) == []
    assert carry_out(sessions, before) == 0


def test_pending_moves_are_listed_before_they_happen(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"), ("bob", "admin"))
    assert asked(sessions, where(member="viewer")) == [RoleMove("ada", "member", "full", "viewer")]


def test_members_move_with_their_role(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"), ("bob", "admin"))
    assert carry_out(sessions, where(member="viewer")) == 1
    assert (counts(sessions, "full"), counts(sessions, "viewer")) == ((1, 0), (1, 0))
    check(sessions)


def test_a_role_that_becomes_free_gives_its_seats_back(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"))
    carry_out(sessions, where(member="free"))
    assert counts(sessions, "full") == (0, 0)
    check(sessions)


def test_a_free_role_that_takes_seats_may_lead_over_the_limit(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("a", "client"), ("b", "client"))
    with sessions.begin() as session:
        accounts.reevaluate(session, "acme", where(client="viewer"), a_cause())
    with sessions() as session:
        assert session.get(Account, "acme").status == "over_limit"
    check(sessions)


def test_an_invitation_moves_as_a_held_seat(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("invited", "member"), hold=True)
    carry_out(sessions, where(member="viewer"))
    assert (counts(sessions, "full"), counts(sessions, "viewer")) == ((0, 0), (0, 1))
    check(sessions)


def test_the_suspended_move_and_occupy_nothing(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"))
    with sessions.begin() as session:
        session.execute(text("UPDATE assignments SET state = 'suspended'"))
    assert carry_out(sessions, where(member="viewer")) == 1
    assert counts(sessions, "viewer") == (0, 0)


def test_released_members_are_not_moved(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"))
    with sessions.begin() as session:
        claims.release(session, "acme", "ada", a_cause())
    assert carry_out(sessions, where(member="viewer")) == 0


def test_an_unknown_role_moves_nobody_and_is_listed(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"))
    silent = parse(CATALOG_TEXT.replace('member = "full"\n', "") + FREE, "changed")
    assert carry_out(sessions, silent) == 0
    with sessions() as session:
        assert role_moves.unknown_roles(session, "acme", silent) == ["member"]


def test_moving_twice_moves_once(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"))
    changed = where(member="viewer")
    assert (carry_out(sessions, changed), carry_out(sessions, changed)) == (1, 0)


def test_each_move_has_its_own_line_in_the_audit(sessions: Sessions, before: Catalog):
    seat(sessions, before, ("ada", "member"), ("bob", "member"))
    carry_out(sessions, where(member="viewer"))
    with sessions() as session:
        rows = session.scalars(select(AuditRow).order_by(AuditRow.id.desc()).limit(2)).all()
    assert [row.member_id for row in rows] == ["bob", "ada"]
    assert {row.subject_after["seat_type"] for row in rows} == {"viewer"}
