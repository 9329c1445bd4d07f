"""Seating: who gets, keeps and gives back a seat. All of it is recorded on the locked account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session, make_transient_to_detached

from domain import policies
from domain.balance import Balance, Counted
from domain.catalog.model import Catalog
from domain.emails import address_key
from domain.errors import ClaimsBlocked, NoSeatAvailable, PurchaseNeeded, Refused, WrongState
from models import assignment, seat_change
from models.account import AccountStatus
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.base import Json
from models.driver import first_row
from services.ledger import persons
from services.ledger.account_state import AccountState
from services.ledger.locked_account import LockedAccount, Subject, changing
from services.ledger.persons import Person

REFUSING = {
    AccountStatus.SUSPENDED: "The account is suspended: its seats and members are kept, new claims are not "
    "granted until its subscription is active again.",
    AccountStatus.ENDED: "The account's subscription has ended: a new one is needed to claim seats.",
}
"""What refuses every claim, whatever the policy would say; a type that is blocked refuses by its policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A seat somebody asks for. `hold` keeps it for an invitation, which lapses by itself.

    `email` is an address as it was given, without blanks at its ends.
    """

    member_id: str
    role: str
    email: str | None = None
    hold: bool = False
    protected: bool = False
    name: str | None = None
    last_active_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClaimOutcome:
    """The person's assignment, and whether it was made just now."""

    assignment: Assignment
    is_new: bool


def claim(
    session: Session, account_id: str, wish: ClaimRequest, catalog: Catalog, cause: Cause
) -> ClaimOutcome:
    """Lock the account and `claim_locked` the person, whatever that raises; raises `AccountNotFound` too."""
    with changing(session, account_id) as account:
        return claim_locked(account, wish, catalog, cause)


def claim_locked(account: LockedAccount, wish: ClaimRequest, catalog: Catalog, cause: Cause) -> ClaimOutcome:
    """Give the person a seat, once. A person who has a row keeps it (`services.ledger.persons` says which
    row is meant): an invitation is confirmed, and a role of another seat type is a move, granted or refused
    like any claim.

    Raises `UnknownRole`, `ClaimsBlocked`, `NoSeatAvailable`, `PurchaseNeeded`, `EmailTaken`, and
    `WrongState` for a suspended member and for a move while a seat is being bought.
    """
    seat_type = catalog.seat_type(wish.role)
    note_catalog(account, catalog)
    release_lapsed_if_full(account, seat_type)
    account.compute_status()  # the policy decides by what this transaction has done so far
    refused = refusal(account, seat_type)
    if refused is None:
        made = _insert(account, wish, seat_type)
        if made is not None:
            return _new(account, made, cause)
    person = persons.find(account.session, account.account_id, wish.member_id, wish.email)
    if person is not None:
        return _claim_again(account, person, wish, cause, seat_type=seat_type, refused=refused)
    assert refused is not None  # an insert that conflicts has met a live assignment
    raise refused


def note_catalog(account: LockedAccount, catalog: Catalog) -> None:
    """Somebody is seated by what a role means in this catalogue. If another catalogue has evaluated the
    account, it is to be evaluated again: the role may mean another seat type there.
    """
    if account.catalog_digest != catalog.digest:
        account.catalog_digest = ""


def release_lapsed_if_full(account: LockedAccount, seat_type: str | None) -> None:
    """Where no seat is left, take back those of invitations whose time is over: before any policy decides,
    lest it count them as overage.
    """
    if seat_type is not None and account.of(seat_type).available == 0:
        release_lapsed(account)


def release(session: Session, account_id: str, member_id: str, cause: Cause) -> bool:
    """Free the member's seat; False if there was none to free, which is no mistake."""
    with changing(session, account_id) as account:
        person = assignment.live(session, account_id, member_id)
        if person is not None:
            release_seat(account, person, cause)
    return person is not None


def refusal(account: AccountState, seat_type: str | None) -> Refused | None:
    """Why the account gives no seat of the type, if it does not; free roles are always welcome."""
    if seat_type is None:
        return None
    balance = account.of(seat_type)
    if (blocked := REFUSING.get(account.status)) is not None:
        return ClaimsBlocked(
            blocked, details={"account_status": account.status.value, **figures(seat_type, balance)}
        )
    rules = account.rules_of(seat_type)
    decision = policies.load(rules.policy).decide(balance.situation(seat_type, now=account.now, rules=rules))
    if decision.granted:
        return None
    return _REFUSAL[decision.code](decision.message, details=figures(seat_type, balance))


_REFUSAL: Mapping[str, type[Refused]] = {
    kind.code: kind for kind in (NoSeatAvailable, ClaimsBlocked, PurchaseNeeded)
}


def figures(seat_type: str | None, balance: Balance) -> Mapping[str, object]:
    """The figures behind an answer, as the API shows them."""
    if seat_type is None:
        return {"seat_type": None}
    return {"seat_type": seat_type, **balance.figures()}


_COLUMNS = tuple(Assignment.__table__.columns.keys())
_INSERT = f"""
INSERT INTO assignments (account_id, member_id, name, email, email_key, role, seat_type, state, protected,
                         expires_at, awaits, last_active_at)
VALUES (%(account_id)s, %(member_id)s, %(name)s, %(email)s, %(email_key)s, %(role)s, %(seat_type)s, %(state)s,
        %(protected)s, %(expires_at)s, %(awaits)s, %(last_active_at)s)
ON CONFLICT DO NOTHING
RETURNING {", ".join(_COLUMNS)}
"""  # noqa: S608  columns, named above


def hold_until_bought(
    account: LockedAccount, wish: ClaimRequest, seat_type: str, cause: Cause, *, lasts: timedelta
) -> ClaimOutcome:
    """A seat for somebody new that is not there yet: held, and counted so that nobody else gets it."""
    becomes = AssignmentState.HELD if wish.hold else AssignmentState.ACTIVE
    made = _insert(account, replace(wish, hold=True), seat_type, lasts=lasts, awaits=becomes)
    assert made is not None  # a claim has just found nobody there
    return _new(account, made, cause)


def _insert(
    account: LockedAccount,
    wish: ClaimRequest,
    seat_type: str | None,
    *,
    lasts: timedelta | None = None,
    awaits: AssignmentState | None = None,
) -> Assignment | None:
    """A new live assignment, or None where the person has one: the unique indexes decide."""
    state = AssignmentState.HELD if wish.hold else AssignmentState.ACTIVE
    made = first_row(
        account.session,
        _INSERT,
        {
            "account_id": account.account_id,
            "member_id": wish.member_id,
            "name": wish.name,
            "email": wish.email,
            "email_key": None if wish.email is None else address_key(wish.email),
            "role": wish.role,
            "seat_type": seat_type,
            "state": state.value,
            "protected": wish.protected,
            "expires_at": account.now + (lasts or account.rules_of(seat_type).hold) if wish.hold else None,
            "awaits": awaits,
            "last_active_at": min(wish.last_active_at, account.now) if wish.last_active_at else None,
        },
    )
    if made is None:
        return None
    row = Assignment(**dict(zip(_COLUMNS, made, strict=True)))
    make_transient_to_detached(row)
    account.session.add(row)  # as if the session had loaded it: what is changed in it is written
    return row


def _new(account: LockedAccount, made: Assignment, cause: Cause) -> ClaimOutcome:
    account.move(made.seat_type, made.counted)
    account.evaluate_by(None if made.awaits else made.expires_at)
    account.record(cause, Subject(member_id=made.member_id, after=made.facts()))
    return ClaimOutcome(made, is_new=True)


def _claim_again(
    account: LockedAccount,
    person: Person,
    wish: ClaimRequest,
    cause: Cause,
    *,
    seat_type: str | None,
    refused: Refused | None,
) -> ClaimOutcome:
    """The claim of a person who has a row; `refused` is why the account gives no further seat of the type."""
    check_claim_again(person.row, seat_type)
    if refused is not None and not person.has_seat(seat_type):
        raise refused
    with change_person(account, person, cause):
        apply_claim(person.row, wish, seat_type)
    return ClaimOutcome(person.row, is_new=False)


def check_claim_again(row: Assignment, seat_type: str | None) -> None:
    """Raise `WrongState` if a claim cannot act on the row."""
    if row.state == AssignmentState.SUSPENDED:
        raise WrongState(
            f"Member {row.member_id!r} is suspended and has no seat. "
            'Bring them back with PATCH {"state": "active"}, which claims one.',
            details={"member_id": row.member_id, "state": row.state},
        )
    if row.awaits is not None and row.seat_type != seat_type:
        raise seat_is_being_bought(row)


def seat_is_being_bought(row: Assignment) -> WrongState:
    """Why a member whose seat is not there yet can be given no other role or state."""
    return WrongState(
        f"Member {row.member_id!r} waits for a seat that is being bought: release them, or change "
        "their role or state once they have it.",
        details={"member_id": row.member_id, "state": row.state, "awaits": "purchase"},
    )


def apply_claim(row: Assignment, wish: ClaimRequest, seat_type: str | None) -> None:
    """Make the row what the claim asks for. A role of the same seat type, a name and an address that the
    row has already stay as they are: `services.ledger.members` changes them.
    """
    row.member_id = wish.member_id
    if row.email is None and wish.email is not None:
        row.set_address(wish.email)
    if row.seat_type != seat_type:
        row.role, row.seat_type = wish.role, seat_type
    if row.state == AssignmentState.HELD and not wish.hold:
        if row.awaits is not None:
            row.awaits = AssignmentState.ACTIVE
        else:
            row.state, row.expires_at = AssignmentState.ACTIVE, None


@contextmanager
def change_person(account: LockedAccount, person: Person, cause: Cause) -> Iterator[None]:
    """Record what the block does to the person's row, into which their invitation is merged first."""
    with change_rows(account, person.rows, cause):
        persons.merge(account.session, person, account.now)
        yield


@contextmanager
def change_rows(account: LockedAccount, rows: Sequence[Assignment], cause: Cause) -> Iterator[None]:
    """Record what the block does to the rows of one person, the last of which the others are merged into:
    the only way in which a row that is there is changed. One audit entry for each row that is different.
    """
    before = [row.facts() for row in rows]
    with moving_seats(account, rows):
        yield
        account.session.flush()
    for row, facts in zip(rows, before, strict=True):
        is_merged = row is not rows[-1]
        why = replace(cause, reason=f"merged into member {rows[-1].member_id!r}") if is_merged else cause
        if row.facts() != facts:
            _record(account, row, facts, why)


@contextmanager
def moving_seats(account: AccountState, rows: Sequence[Assignment]) -> Iterator[None]:
    """Have the balance follow what the block does to the rows of one person, by the difference alone: whoever
    goes from one row to another is nobody beyond the limit who has to be warned.
    """
    before = [(row.seat_type, row.counted) for row in rows]
    yield
    moves: dict[str | None, Counted] = {}
    for row, (left, was) in zip(rows, before, strict=True):
        moves[left] = moves.get(left, Counted()) - was
        moves[row.seat_type] = moves.get(row.seat_type, Counted()) + row.counted
    for seat_type, by in moves.items():
        account.move(seat_type, by)


def _record(account: LockedAccount, row: Assignment, facts: Json, cause: Cause) -> None:
    """One audit entry for the row that was as `facts` say."""
    if facts["member_id"] != row.member_id:
        seat_change.rename_member(account.session, account.account_id, facts["member_id"], row.member_id)
    account.evaluate_by(None if row.awaits else row.expires_at)
    account.record(cause, Subject(member_id=row.member_id, before=facts, after=row.facts()))


def release_seat(account: LockedAccount, person: Assignment, cause: Cause) -> None:
    """Release the person's seat."""
    with change_rows(account, (person,), cause):
        person.give_back(account.now)


def release_lapsed(account: LockedAccount) -> None:
    """Release what was held too long, one audit entry each; the seats are free at once."""
    cause = Cause(actor="system:lapse", source="lapse", reason="the invitation was not taken up in time")
    for person in assignment.lapsed_invitations(account.session, account.account_id):
        release_seat(account, person, cause)
