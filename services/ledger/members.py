"""Members: change the role, state or personal data of a member, and rename members.

Changes are recorded on the locked account, as in `claims`. Names, e-mail addresses and the time of last
activity change no seat and are never written to the audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from domain.errors import HoldExpired, MemberIdTaken, MemberNotFound, WrongState
from domain.ids import path_segment
from models import account as account_rows
from models import assignment
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.base import affected
from services.ledger import claims, persons
from services.ledger.locked_account import LockedAccount, changing
from services.ledger.persons import Person

_REACHABLE: Mapping[AssignmentState, Mapping[AssignmentState, str]] = {
    AssignmentState.HELD: {
        AssignmentState.HELD: "renews the invitation",
        AssignmentState.ACTIVE: "confirms the invitation",
    },
    AssignmentState.ACTIVE: {
        AssignmentState.ACTIVE: "changes nothing",
        AssignmentState.SUSPENDED: "frees the seat and keeps the member",
    },
    AssignmentState.SUSPENDED: {
        AssignmentState.SUSPENDED: "changes nothing",
        AssignmentState.ACTIVE: "claims a seat again",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberUpdate:
    """The new values; None leaves a value unchanged.

    `state` confirms an invitation (`active`), renews it (`held`), suspends, or reactivates.
    """

    role: str | None = None
    state: AssignmentState | None = None
    protected: bool | None = None
    name: str | None = None
    email: str | None = None
    last_active_at: datetime | None = None

    @property
    def only_reports(self) -> bool:
        """True if the update contains nothing but the time of last activity."""
        return self == MemberUpdate(last_active_at=self.last_active_at)


def update_member(
    session: Session, account_id: str, member_id: str, wanted: MemberUpdate, *, catalog: Catalog, cause: Cause
) -> Assignment:
    """Apply the whole update, or raise and apply none of it.

    A role of another seat type and a reactivation need a seat, and are refused like a claim. Raises what
    `claims.claim_locked` raises, `MemberNotFound`, and `HoldExpired` for a lapsed invitation.
    """
    if wanted.only_reports:
        _report(session, account_id, member_id, wanted.last_active_at)
        return _live(session, account_id, member_id)
    with changing(session, account_id) as account:
        person = live_row(account, member_id)
        claims.mark_due_if_catalog_changed(account, catalog)
        _change(account, person, wanted, catalog=catalog, cause=cause)
    _report(session, account_id, member_id, wanted.last_active_at)
    session.refresh(person)
    return person


def live_row(account: LockedAccount, member_id: str) -> Assignment:
    """The live assignment of the member, to be changed.

    Raises `MemberNotFound`, and `HoldExpired` for a lapsed invitation, which is released.
    """
    person = assignment.live(account.session, account.account_id, member_id)
    if person is None:
        raise _not_found(account.account_id, member_id)
    if person.expires_at is not None and person.expires_at <= account.now:
        expired = HoldExpired(
            f"The invitation of member {member_id!r} lapsed at {person.expires_at:%Y-%m-%d %H:%M} UTC. "
            "Claim a seat again.",
            details={"member_id": member_id},
        )
        claims.release_lapsed(account)
        raise expired
    return person


def get(session: Session, account_id: str, member_id: str) -> Assignment:
    """The live assignment of the member.

    Raises `AccountNotFound`, and `MemberNotFound` for a released member too.
    """
    found = assignment.newest(session, account_id, member_id)
    if found is None:
        account_rows.get(session, account_id)
    if found is None or found.state == AssignmentState.RELEASED:
        raise _not_found(account_id, member_id, found)
    return found


def rename(session: Session, account_id: str, member_id: str, new_id: str, cause: Cause) -> Assignment:
    """Give the member a new id; seat, state and history stay. An invitation under the new id is merged.

    Raises `AccountNotFound`, `MemberNotFound`, and `MemberIdTaken` if another member has the new id.
    """
    with changing(session, account_id) as account:
        row = assignment.live(session, account_id, member_id)
        if row is None:
            raise _not_found(account_id, member_id)
        holder = assignment.live(session, account_id, new_id)
        if holder is row:
            return row
        if holder is not None and not holder.is_invitation:
            raise MemberIdTaken(
                f"Member {new_id!r} of this account is {holder.state} already. If both are the same person, "
                "release that member first.",
                details={"member_id": new_id, "state": holder.state},
            )
        with claims.change_person(account, Person(row, holder), cause):
            row.member_id = new_id
    return row


def _change(
    account: LockedAccount, row: Assignment, wanted: MemberUpdate, *, catalog: Catalog, cause: Cause
) -> None:
    if row.awaits is not None and (wanted.state, wanted.role) != (None, None):
        raise claims.seat_is_being_bought(row)
    state = _state_after(row, wanted.state)
    seat_type = row.seat_type if wanted.role is None else catalog.seat_type(wanted.role)
    person = persons.identify(row, _row_with_address(account.session, row, wanted.email))
    assert person is not None  # `row` is a row of the person
    needed = seat_type if state is not AssignmentState.SUSPENDED else None
    if not person.has_seat(needed):
        refused = claims.refusal_after_lapses(account, needed)
        if refused is not None:
            raise refused
    with claims.change_person(account, person, cause):
        row.role, row.seat_type, row.state = wanted.role or row.role, seat_type, state.value
        row.expires_at = _expiry(account, row, wanted.state)
        row.protected = row.protected if wanted.protected is None else wanted.protected
        row.name = row.name if wanted.name is None else wanted.name
        if wanted.email is not None:
            row.set_address(wanted.email)


def _row_with_address(session: Session, row: Assignment, email: str | None) -> Assignment | None:
    return None if email is None else assignment.live_address(session, row.account_id, email)


def _state_after(person: Assignment, wanted: AssignmentState | None) -> AssignmentState:
    state = AssignmentState(person.state)
    if wanted is None:
        return state
    reachable = _REACHABLE[state]
    if wanted not in reachable:
        allowed = "; ".join(f"`{one}` {effect}" for one, effect in reachable.items())
        raise WrongState(
            f"Member {person.member_id!r} is {state} and cannot become {wanted}. Allowed: {allowed}.",
            details={"member_id": person.member_id, "state": state, "reachable": list(reachable)},
        )
    return wanted


def _expiry(account: LockedAccount, person: Assignment, wanted: AssignmentState | None) -> datetime | None:
    """When the invitation lapses; None if the member is not held. A renewed invitation gets its full time."""
    if person.state != AssignmentState.HELD:
        return None
    hold = account.rules_of(person.seat_type).hold
    return account.now + hold if wanted is AssignmentState.HELD else person.expires_at


def _report(session: Session, account_id: str, member_id: str, last_active_at: datetime | None) -> None:
    """Store when the member was last active: never earlier than the stored time, never in the future. This
    takes no lock on the account, so an app may report it often.
    """
    if last_active_at is None:
        return
    reported = (
        update(Assignment)
        .where(Assignment.account_id == account_id, Assignment.member_id == member_id, assignment.LIVE)
        .values(
            last_active_at=func.greatest(Assignment.last_active_at, func.least(last_active_at, func.now()))
        )
    )
    if not affected(session, reported):
        account_rows.get(session, account_id)
        raise _not_found(account_id, member_id)


def _live(session: Session, account_id: str, member_id: str) -> Assignment:
    found = assignment.live(session, account_id, member_id)
    if found is None:
        raise _not_found(account_id, member_id)
    session.refresh(found)
    return found


def _not_found(account_id: str, member_id: str, released: Assignment | None = None) -> MemberNotFound:
    since = {} if released is None else {"released_at": f"{released.released_at:%Y-%m-%dT%H:%M:%S.%fZ}"}
    return MemberNotFound(
        f"Account {account_id!r} has no active, held or suspended member {member_id!r}. "
        f"Claim a seat with POST /v1/accounts/{path_segment(account_id)}/claims.",
        details={"account_id": account_id, "member_id": member_id, **since},
    )
