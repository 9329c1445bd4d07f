"""Claims: give members seats, and release them. Every change is recorded on the locked account."""

from __future__ import annotations

from collections import defaultdict
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
    AccountStatus.SUSPENDED: "The account is suspended. Its seats and members are kept, but new claims are "
    "refused until its subscription is active again.",
    AccountStatus.ENDED: "The account's subscription has ended. Buy a new subscription to claim seats.",
}
"""The statuses that refuse every claim under any policy, with the message. (In a blocked account the policy
of each seat type decides.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A request for a seat. With `hold` the seat is held for an invitation, which lapses if not confirmed.

    `email` is the address as the caller wrote it, without leading or trailing blanks.
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
    """The person's assignment, and whether this claim created it."""

    assignment: Assignment
    is_new: bool


def claim(
    session: Session, account_id: str, request: ClaimRequest, catalog: Catalog, cause: Cause
) -> ClaimOutcome:
    """Lock the account and claim a seat in it, see `claim_locked`. Raises `AccountNotFound` too."""
    with changing(session, account_id) as account:
        return claim_locked(account, request, catalog, cause)


def claim_locked(
    account: LockedAccount, request: ClaimRequest, catalog: Catalog, cause: Cause
) -> ClaimOutcome:
    """Give the person a seat, at most once.

    A person who has a row already keeps it (`services.ledger.persons` finds it): an invitation is confirmed,
    and a role of another seat type is a move, granted or refused like any claim.

    Raises `UnknownRole`, `ClaimsBlocked`, `NoSeatAvailable`, `PurchaseNeeded`, `EmailTaken`, and
    `WrongState` for a suspended member and for a move while a seat is being bought.
    """
    seat_type = catalog.seat_type(request.role)
    mark_due_if_catalog_changed(account, catalog)
    refused = refusal_after_lapses(account, seat_type)
    if refused is None:
        # Most claims are of new people: try the insert first. It conflicts if the person has a row.
        row = insert_row(account, request, seat_type)
        if row is not None:
            return _record_new(account, row, cause)
    person = persons.find(account.session, account.account_id, request.member_id, request.email)
    if person is not None:
        return _claim_again(account, person, request, cause, seat_type=seat_type, refused=refused)
    assert refused is not None  # without a refusal, the insert conflicted with a row of the person
    raise refused


def mark_due_if_catalog_changed(account: LockedAccount, catalog: Catalog) -> None:
    """Mark the account for evaluation if it was last evaluated with another catalogue, in which the role of
    this claim may mean another seat type.
    """
    if account.catalog_digest != catalog.digest:
        account.catalog_digest = ""


def refusal_after_lapses(account: LockedAccount, seat_type: str | None) -> Refused | None:
    """Like `refusal`, after the seats of lapsed invitations were released, if the type is full.

    They are released before the policy decides, because it would count them as overage.
    """
    if seat_type is not None and account.balance_of(seat_type).available == 0:
        release_lapsed(account)
    account.compute_status()  # the policy reads status and deadlines, as this transaction has changed them
    return refusal(account, seat_type)


def release(session: Session, account_id: str, member_id: str, cause: Cause) -> bool:
    """Release the member's seat. Returns False, and raises nothing, if the member has no live assignment."""
    with changing(session, account_id) as account:
        person = assignment.live(session, account_id, member_id)
        if person is not None:
            release_seat(account, person, cause)
    return person is not None


def refusal(account: AccountState, seat_type: str | None) -> Refused | None:
    """Why the account refuses a further seat of the type; None if it grants one. Free roles (None) are always
    granted.
    """
    if seat_type is None:
        return None
    if (blocked := refusal_by_status(account, seat_type)) is not None:
        return blocked
    balance = account.balance_of(seat_type)
    rules = account.rules_of(seat_type)
    decision = policies.load(rules.policy).decide(balance.situation(seat_type, now=account.now, rules=rules))
    if decision.granted:
        return None
    return _REFUSAL[decision.code](decision.message, details=figures(seat_type, balance))


def refusal_by_status(account: AccountState, seat_type: str) -> ClaimsBlocked | None:
    """The refusal of a suspended or ended account, which no policy can grant; None in any other status."""
    if (blocked := REFUSING.get(account.status)) is None:
        return None
    shown = figures(seat_type, account.balance_of(seat_type))
    return ClaimsBlocked(blocked, details={"account_status": account.status.value, **shown})


_REFUSAL: Mapping[str, type[Refused]] = {
    kind.code: kind for kind in (NoSeatAvailable, ClaimsBlocked, PurchaseNeeded)
}


def figures(seat_type: str | None, balance: Balance) -> Mapping[str, object]:
    """The seat type and its figures, as API responses show them."""
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
"""  # noqa: S608  the column names above


def hold_until_bought(
    account: LockedAccount, request: ClaimRequest, seat_type: str, cause: Cause, *, max_hold: timedelta
) -> ClaimOutcome:
    """Hold a seat that is still to be bought, for a new person, for `max_hold` at most.

    It counts as used, so that the bought seat goes to nobody else.
    """
    state_after = AssignmentState.HELD if request.hold else AssignmentState.ACTIVE
    row = insert_row(account, replace(request, hold=True), seat_type, max_hold=max_hold, awaits=state_after)
    assert row is not None  # the caller's claim has just found no row of the person
    return _record_new(account, row, cause)


def insert_row(
    account: LockedAccount,
    request: ClaimRequest,
    seat_type: str | None,
    *,
    max_hold: timedelta | None = None,
    awaits: AssignmentState | None = None,
) -> Assignment | None:
    """Insert a live assignment; None if the person has one already, which the unique indexes decide.

    The caller records it, and adjusts the used seats.
    """
    state = AssignmentState.HELD if request.hold else AssignmentState.ACTIVE
    inserted = first_row(
        account.session,
        _INSERT,
        {
            "account_id": account.account_id,
            "member_id": request.member_id,
            "name": request.name,
            "email": request.email,
            "email_key": None if request.email is None else address_key(request.email),
            "role": request.role,
            "seat_type": seat_type,
            "state": state.value,
            "protected": request.protected,
            "expires_at": account.now + (max_hold or account.rules_of(seat_type).hold)
            if request.hold
            else None,
            "awaits": awaits,
            "last_active_at": min(request.last_active_at, account.now) if request.last_active_at else None,
        },
    )
    if inserted is None:
        return None
    row = Assignment(**dict(zip(_COLUMNS, inserted, strict=True)))
    make_transient_to_detached(row)
    account.session.add(row)  # as if the session had loaded it, so that later changes to it are written
    return row


def _record_new(account: LockedAccount, row: Assignment, cause: Cause) -> ClaimOutcome:
    account.move(row.seat_type, row.counted)
    account.evaluate_by(None if row.awaits else row.expires_at)
    account.record(cause, Subject(member_id=row.member_id, after=row.facts()))
    return ClaimOutcome(row, is_new=True)


def _claim_again(
    account: LockedAccount,
    person: Person,
    request: ClaimRequest,
    cause: Cause,
    *,
    seat_type: str | None,
    refused: Refused | None,
) -> ClaimOutcome:
    """Apply the claim to the row that the person has. `refused` is raised if it needs another seat."""
    check_claim_again(person.row, seat_type)
    if refused is not None and not person.has_seat(seat_type):
        raise refused
    with change_person(account, person, cause):
        apply_claim(person.row, request, seat_type)
    return ClaimOutcome(person.row, is_new=False)


def check_claim_again(row: Assignment, seat_type: str | None) -> None:
    """Raise `WrongState` if the row cannot be claimed again in its state."""
    if row.state == AssignmentState.SUSPENDED:
        raise WrongState(
            f"Member {row.member_id!r} is suspended and has no seat. "
            'Reactivate the member with PATCH {"state": "active"}, which claims a seat.',
            details={"member_id": row.member_id, "state": row.state},
        )
    if row.awaits is not None and row.seat_type != seat_type:
        raise seat_is_being_bought(row)


def seat_is_being_bought(row: Assignment) -> WrongState:
    """The error for changing the role or state of a member whose seat is still being bought."""
    return WrongState(
        f"The seat of member {row.member_id!r} is still being bought. Release the member, or change the role "
        "or state after the purchase.",
        details={"member_id": row.member_id, "state": row.state, "awaits": "purchase"},
    )


def apply_claim(row: Assignment, request: ClaimRequest, seat_type: str | None) -> None:
    """Change the row to what the claim requests. An existing name, address, or role of the same seat type
    is not replaced; `services.ledger.members` does that.
    """
    row.member_id = request.member_id
    if row.email is None and request.email is not None:
        row.set_address(request.email)
    if row.seat_type != seat_type:
        row.role, row.seat_type = request.role, seat_type
    if row.state == AssignmentState.HELD and not request.hold:
        if row.awaits is not None:
            row.awaits = AssignmentState.ACTIVE
        else:
            row.state, row.expires_at = AssignmentState.ACTIVE, None


@contextmanager
def change_person(account: LockedAccount, person: Person, cause: Cause) -> Iterator[None]:
    """Merge the person's invitation into their row, then record what the block changes in it."""
    with change_rows(account, person.rows, cause):
        persons.merge(account.session, person, account.now)
        yield


@contextmanager
def change_rows(
    account: LockedAccount, rows: Sequence[Assignment], cause: Cause, *, cause_of_others: Cause | None = None
) -> Iterator[None]:
    """Record what the block changes in these rows. Every change of an existing row goes through here.

    The used seats are adjusted by the difference of all rows together, and each row that differs gets an
    audit entry. A row that the block appends to `rows` is a new one. The last row is the one that stays; by
    default the others are merged into it, and `cause_of_others` says so.
    """
    before = {row.id: row.facts() for row in rows}
    with adjusting_used_seats(account, rows):
        yield
        account.session.flush()
    remaining = rows[-1]
    merged = replace(cause, reason=f"merged into member {remaining.member_id!r}")
    for row in rows:
        facts = before.get(row.id)
        if row.facts() != facts:
            _record_change(account, row, facts, cause if row is remaining else cause_of_others or merged)


@contextmanager
def adjusting_used_seats(account: AccountState, rows: Sequence[Assignment]) -> Iterator[None]:
    """Adjust the account's used seats by what the block changes in these rows, or appends to them.

    Only the difference per seat type is applied. Otherwise a seat that moves from one row to another would
    count for a moment as one more seat over the limit.
    """
    before = [(row.seat_type, row.counted) for row in rows]
    yield
    differences: defaultdict[str | None, Counted] = defaultdict(Counted)
    for seat_type, counted in before:
        differences[seat_type] -= counted
    for row in rows:
        differences[row.seat_type] += row.counted
    for seat_type, difference in differences.items():
        account.move(seat_type, difference)


def _record_change(account: LockedAccount, row: Assignment, before: Json | None, cause: Cause) -> None:
    """Add an audit entry for a changed row whose facts were `before`; None if the row is new."""
    if before is not None and before["member_id"] != row.member_id:
        seat_change.rename_member(account.session, account.account_id, before["member_id"], row.member_id)
    account.evaluate_by(None if row.awaits else row.expires_at)
    account.record(cause, Subject(member_id=row.member_id, before=before, after=row.facts()))


def release_seat(account: LockedAccount, person: Assignment, cause: Cause) -> None:
    """Release the seat of this assignment."""
    with change_rows(account, (person,), cause):
        person.give_back(account.now)


def release_lapsed(account: LockedAccount) -> None:
    """Release the held seats of lapsed invitations, with one audit entry each."""
    cause = Cause(actor="system:lapse", source="lapse", reason="the invitation was not confirmed in time")
    for person in assignment.lapsed_invitations(account.session, account.account_id):
        release_seat(account, person, cause)
