"""Who occupies an account's seats, and who of them is chosen when there are too many."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import text

from domain.catalog.model import Catalog
from domain.reduction import SeatHolder
from models.assignment import Assignment
from models.database import Sessions
from services.ledger import accounts, seat_holders
from tests.factories import NOON, a_cause

ACCOUNTS = ("acme", "other")


@pytest.fixture
def rows(sessions: Sessions, catalog: Catalog) -> Sessions:
    """Two accounts with nobody in them."""
    with sessions.begin() as session:
        for account_id in ACCOUNTS:
            accounts.open_account(session, account_id, catalog, a_cause())
    return sessions


def sits(sessions: Sessions, member_id: str, **changes) -> None:
    """The member has an assignment: on a full seat, active, if nothing else is said."""
    facts = {"account_id": "acme", "role": "member", "seat_type": "full", "state": "active"}
    with sessions.begin() as session:
        session.add(Assignment(member_id=member_id, **{**facts, **changes}))


def is_invited(sessions: Sessions, member_id: str, **changes) -> None:
    sits(sessions, member_id, state="held", expires_at=NOON, **changes)


def seated(sessions: Sessions, *seat_types: str) -> set[str]:
    with sessions() as session:
        return {one.member_id for one in seat_holders.on_types(session, "acme", seat_types)}


def suspended(sessions: Sessions, over: int) -> Sequence[str]:
    with sessions() as session:
        return seat_holders.to_suspend(session, "acme", "full", over)


def released(sessions: Sessions, over: int) -> Sequence[str]:
    with sessions() as session:
        return seat_holders.to_release(session, "acme", "full", over)


def test_active_and_held_members_hold_seats(rows: Sessions):
    sits(rows, "ada", name="Ada", protected=True, claimed_at=NOON, last_active_at=NOON)
    is_invited(rows, "bob", role="admin", claimed_at=NOON)
    with rows() as session:
        found = sorted(seat_holders.on_types(session, "acme", ["full"]), key=lambda one: one.member_id)
    assert found == [
        SeatHolder(
            member_id="ada",
            name="Ada",
            role="member",
            seat_type="full",
            state="active",
            protected=True,
            claimed_at=NOON,
            last_active_at=NOON,
            expires_at=None,
        ),
        SeatHolder(
            member_id="bob",
            name=None,
            role="admin",
            seat_type="full",
            state="held",
            protected=False,
            claimed_at=NOON,
            last_active_at=None,
            expires_at=NOON,
        ),
    ]


def test_nobody_else_holds_a_seat(rows: Sessions):
    sits(rows, "released", state="released", released_at=NOON)
    sits(rows, "suspended", state="suspended")
    sits(rows, "free", role="client", seat_type=None)
    sits(rows, "elsewhere", account_id="other")
    assert seated(rows, "full", "viewer") == set()


def test_only_the_seat_types_asked_for_are_read(rows: Sessions):
    sits(rows, "ada")
    sits(rows, "eve", seat_type="viewer")
    assert [seated(rows), seated(rows, "viewer"), seated(rows, "full", "viewer")] == [
        set(),
        {"eve"},
        {"ada", "eve"},
    ]


def test_those_who_would_leave_first_are_chosen(rows: Sessions):
    sits(rows, "busy", last_active_at=NOON)
    sits(rows, "idle", last_active_at=NOON.replace(day=1))
    sits(rows, "never")
    assert [suspended(rows, over) for over in (0, 1, 2)] == [[], ["never"], ["never", "idle"]]


def test_the_protected_are_never_chosen_though_too_many_stay(rows: Sessions):
    sits(rows, "owner", protected=True)
    is_invited(rows, "partner", protected=True)
    sits(rows, "ada")
    assert (suspended(rows, 3), released(rows, 3)) == (["ada"], [])


def test_an_invitation_is_released_before_anybody_is_suspended(rows: Sessions):
    sits(rows, "ada")
    is_invited(rows, "early", claimed_at=NOON.replace(day=1))
    is_invited(rows, "late", claimed_at=NOON.replace(day=2))
    told = [(released(rows, over), suspended(rows, over)) for over in (1, 2, 3)]
    assert told == [(["late"], []), (["late", "early"], []), (["late", "early"], ["ada"])]


def test_the_same_people_are_chosen_once_invitations_are_released(rows: Sessions):
    for member_id in ("ada", "bob", "eve"):
        sits(rows, member_id)
    is_invited(rows, "guest")
    before = suspended(rows, 3)
    with rows.begin() as session:
        session.execute(text("DELETE FROM assignments WHERE state = 'held'"))
    assert suspended(rows, 2) == before == ["eve", "bob"]
