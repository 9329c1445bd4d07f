"""Reassignments: a seat moves from one member to another, and nobody else can have it in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import select

from domain.catalog.model import Catalog
from domain.errors import (
    AccountNotFound,
    ClaimsBlocked,
    EmailTaken,
    HoldExpired,
    MemberNotFound,
    NoSeatAvailable,
    SeatSyncError,
    UnknownRole,
    WrongState,
)
from models.assignment import Assignment, AssignmentState
from models.audit import AuditRow
from models.database import Sessions
from runtime.wiring import Runtime
from services.ledger import reassignments
from services.ledger.claims import ClaimRequest
from tests.acme import DAY, Acme
from tests.clock import Clock
from tests.factories import a_catalog, a_cause
from tests.services.ledger.test_persons import BUYING, TWO_VIEWERS, Team, alone

ROUNDS = 100


class Seats(Team):
    """The account `acme` with five full seats and two for viewers."""

    def reassign(self, member_id: str, to: str, role: str = "member", **more) -> Assignment:
        with self.sessions.begin() as session:
            request = ClaimRequest(member_id=to, role=role, **more)
            told = (session, "acme", member_id, request)
            return reassignments.reassign(*told, catalog=self.catalog, cause=a_cause())

    def refuses(self, error: type[SeatSyncError], member_id: str, to: str, **more) -> SeatSyncError:
        """Assert that the reassignment is refused and changes nobody; returns the error."""
        before = self.live()
        with pytest.raises(error) as refused:
            self.reassign(member_id, to, **more)
        assert self.live() == before
        return refused.value

    def assignment(self, member_id: str) -> Assignment:
        with self.sessions() as session:
            found = select(Assignment).where(Assignment.member_id == member_id).order_by(Assignment.id.desc())
            return session.scalars(found).first()


@pytest.fixture
def seats(sessions: Sessions, catalog: Catalog):
    seats = Seats(sessions, catalog)
    seats.buy(addons=TWO_VIEWERS)
    yield seats
    seats.check()


@pytest.fixture
def acme(clocked_runtime: Runtime, clock: Clock):
    acme = Acme(clocked_runtime, clock)
    yield acme
    acme.check()


# Granted.


def test_the_next_member_has_the_seat_and_the_first_is_released(seats: Seats):
    seats.claim("ada")
    seats.reassign("ada", "ida")
    assert seats.live() == {"ida": ("active", "full")}
    assert seats.assignment("ada").state == "released"


def test_name_address_and_protection_are_those_of_the_next_member(seats: Seats):
    seats.claim("ada", name="Ada", email="ada@example.com", protected=True)
    seats.reassign("ada", "ida", name="Ida", email="ida@example.com")
    ida = seats.assignment("ida")
    assert (ida.name, ida.email, ida.protected) == ("Ida", "ida@example.com", False)


def test_it_works_in_a_full_account(seats: Seats):
    seats.claim("ada")
    seats.fill()
    seats.reassign("ada", "ida")
    assert (seats.live()["ida"], seats.full()["active"]) == (("active", "full"), 5)


def test_it_works_beyond_the_limit(seats: Seats):
    seats.buy(seats=1)
    for member_id in ("ada", "b", "c", "d", "e", "f"):
        seats.claim(member_id)
    seats.buy(seats=0)
    seats.reassign("ada", "ida")
    assert (seats.live()["ida"], seats.status()) == (("active", "full"), "over_limit")


@pytest.mark.parametrize(("hold", "state"), [(True, "held"), (False, "active")])
def test_an_invitation_is_reassigned_as_the_request_says(seats: Seats, hold: bool, state: str):
    seats.claim("guest", hold=True)
    seats.reassign("guest", "ida", hold=hold)
    assert (seats.live(), seats.full()[state]) == ({"ida": (state, "full")}, 1)


def test_a_member_with_a_free_role_can_take_a_seat(seats: Seats):
    seats.claim("ada")
    seats.claim("ida", role="client")
    seats.fill()
    seats.reassign("ada", "ida")
    assert seats.live()["ida"] == ("active", "full")


def test_the_free_invitation_of_the_next_person_is_confirmed(seats: Seats):
    seats.claim("ada")
    seats.claim("guest", role="client", hold=True, email="ida@example.com")
    seats.reassign("ada", "ida", email="IDA@example.com")
    assert seats.live() == {"ida": ("active", "full")}


def test_a_lapsed_invitation_of_the_next_person_is_no_seat(acme: Acme):
    acme.buys("strict", 2)
    acme.seats("ada")
    acme.seats("ida", hold=True)
    acme.clock.advance(8 * DAY)
    assert (acme.reassigns("ada", "ida"), acme.active) == ("changed", {"ida"})


def test_the_seat_can_come_back(seats: Seats):
    seats.claim("ada")
    seats.reassign("ada", "ida")
    seats.reassign("ida", "ada")
    assert seats.live() == {"ada": ("active", "full")}


def test_a_seat_moves_in_a_blocked_account_and_its_deadline_stays(acme: Acme):
    acme.buys("grace", 2)
    acme.seats("ada", "bob", "eve")
    acme.after(15 * DAY)
    deadline = acme.deadline()
    assert (acme.status, acme.reassigns("ada", "ida")) == ("blocked", "changed")
    assert (acme.status, acme.deadline(), acme.active) == ("blocked", deadline, {"bob", "eve", "ida"})


def test_nobody_beyond_the_limit_is_counted_as_warned_twice(acme: Acme):
    acme.buys("suspending", 2)
    acme.seats("ada", "bob")
    acme.changes(quantity=1)
    before = acme.account.seats
    acme.reassigns("ada", "ida")
    assert acme.account.seats == before


# Audited as one move.


def moves(seats: Seats) -> list[AuditRow]:
    """The audit rows of the reassignment."""
    with seats.sessions() as session:
        found = select(AuditRow).where(AuditRow.reason.like("seat reassigned%")).order_by(AuditRow.id)
        return list(session.scalars(found))


def test_both_members_have_an_entry_with_one_reason(seats: Seats):
    seats.claim("ada")
    seats.reassign("ada", "ida")
    reason = "seat reassigned from member 'ada' to member 'ida'"
    assert [(one.member_id, one.reason) for one in moves(seats)] == [("ada", reason), ("ida", reason)]


def test_the_balance_does_not_move_in_between(seats: Seats):
    seats.claim("ada")
    seats.reassign("ada", "ida")
    assert [row.before == row.after for row in moves(seats)] == [True, True]


# Refused.


def test_nobody_is_released_for_a_member_who_has_a_seat(seats: Seats):
    seats.claim("ada")
    seats.claim("ida")
    assert seats.refuses(WrongState, "ada", "ida").details["member_id"] == "ida"


def test_a_seat_of_another_type_is_a_seat_too(seats: Seats):
    seats.claim("ada")
    seats.claim("ida", role="viewer")
    assert seats.refuses(WrongState, "ada", "ida").details["seat_type"] == "viewer"


def test_an_invited_member_has_a_seat(seats: Seats):
    seats.claim("ada")
    seats.claim("guest", hold=True, email="ida@example.com")
    seats.refuses(WrongState, "ada", "ida", email="ida@example.com")


def test_a_seat_is_not_reassigned_to_its_holder(seats: Seats):
    seats.claim("ada")
    seats.refuses(WrongState, "ada", "ada")


def test_a_suspended_member_takes_no_seat(seats: Seats):
    seats.claim("ada")
    seats.claim("ida")
    seats.change("ida", state=AssignmentState.SUSPENDED)
    assert seats.refuses(WrongState, "ada", "ida").details["state"] == "suspended"


@pytest.mark.parametrize("role", ["viewer", "client"])
def test_the_role_must_mean_the_same_seat_type(seats: Seats, role: str):
    seats.claim("ada")
    assert seats.refuses(WrongState, "ada", "ida", role=role).details["seat_type"] == "full"


def test_a_free_member_has_no_seat_to_give(seats: Seats):
    seats.claim("ada", role="client")
    assert seats.refuses(WrongState, "ada", "ida").details["member_id"] == "ada"


def test_a_suspended_member_has_no_seat_to_give(seats: Seats):
    seats.claim("ada")
    seats.change("ada", state=AssignmentState.SUSPENDED)
    assert seats.refuses(WrongState, "ada", "ida").details["member_id"] == "ada"


@pytest.mark.parametrize("held", [True, False], ids=["invited", "active"])
def test_the_holders_own_address_is_the_same_person(seats: Seats, held: bool):
    seats.claim("ada", email="ada@example.com", hold=held)
    assert seats.refuses(EmailTaken, "ada", "ida", email="Ada@example.com").details["member_id"] == "ada"


def test_the_address_of_another_member_is_taken(seats: Seats):
    seats.claim("ada")
    seats.claim("eve", email="eve@example.com")
    assert seats.refuses(EmailTaken, "ada", "ida", email="eve@example.com").details["member_id"] == "eve"


def test_a_lapsed_invitation_cannot_be_reassigned(acme: Acme):
    acme.buys("strict", 2)
    acme.seats("guest", hold=True)
    acme.clock.advance(8 * DAY)
    assert (acme.reassigns("guest", "ida"), acme.states()) == (HoldExpired.code, {})


@pytest.mark.parametrize(("member_id", "to"), [("ada", "ida"), ("first", "ada")])
def test_a_seat_that_is_still_being_bought_does_not_move(sessions: Sessions, member_id: str, to: str):
    seats = Seats(sessions, a_catalog(BUYING))
    seats.buy(product_id="pdt_buying")
    seats.claim("first")
    alone(seats, ClaimRequest(member_id="ada", role="member"))
    assert seats.refuses(WrongState, member_id, to).details["awaits"] == "purchase"


@pytest.mark.parametrize("status", ["paused", "cancelled"])
def test_an_account_that_is_suspended_or_ended_reassigns_nothing(seats: Seats, status: str):
    seats.claim("ada")
    seats.buy(addons=TWO_VIEWERS, status=status)
    seats.refuses(ClaimsBlocked, "ada", "ida")


def test_a_member_who_was_released_has_nothing_to_give(seats: Seats):
    seats.claim("ada")
    seats.release("ada")
    seats.refuses(MemberNotFound, "ada", "ida")


def test_an_unknown_role_is_refused(seats: Seats):
    seats.claim("ada")
    seats.refuses(UnknownRole, "ada", "ida", role="astronaut")


def test_an_unknown_account_is_refused(seats: Seats):
    seats.execute("UPDATE accounts SET deleted_at = now()")
    with pytest.raises(AccountNotFound):
        seats.reassign("ada", "ida")
    seats.execute("UPDATE accounts SET deleted_at = NULL")


# At once.


def test_two_reassign_and_two_claim_one_seat_a_hundred_times_and_one_wins(seats: Seats):
    holder = "first"
    seats.claim(holder)
    seats.fill()
    with ThreadPoolExecutor(max_workers=4) as callers:
        for number in range(ROUNDS):
            reassigned, claimed = _round(callers, seats, holder, number)
            winners = [one for one in reassigned if one != MemberNotFound.code]
            assert (len(winners), claimed) == (1, [NoSeatAvailable.code] * 2), f"round {number}"
            (holder,) = winners
            assert (len(seats.live()), seats.live()[holder]) == (5, ("active", "full"))


def _round(
    callers: ThreadPoolExecutor, seats: Seats, holder: str, number: int
) -> tuple[list[str], list[str]]:
    """Two callers reassign the holder's seat and two claim one at once: the member or refusal of each."""
    start = threading.Barrier(4)
    reassigned = [
        callers.submit(_answer, start, partial(seats.reassign, holder, f"{side}-{number}"))
        for side in ("left", "right")
    ]
    claimed = [
        callers.submit(_answer, start, lambda side=side: seats.claim(f"{side}-{number}").assignment)
        for side in ("above", "below")
    ]
    return [one.result(60) for one in reassigned], [one.result(60) for one in claimed]


def _answer(start: threading.Barrier, call: Callable[[], Assignment]) -> str:
    """The member who got a seat by the call, begun together with the others of its round; or the refusal."""
    start.wait(30)
    try:
        return call().member_id
    except SeatSyncError as refused:
        return refused.code
