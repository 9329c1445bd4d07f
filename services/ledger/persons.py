"""Persons: find the live row that a member id and an e-mail address refer to. One person has one seat.

An invitation belongs to the person who has its address, even if it was made under another member id. Any
other row belongs to its member id alone; so does a pending claim, unless it is for an invitation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from domain.errors import EmailTaken
from models import assignment
from models.assignment import Assignment


@dataclass(frozen=True, slots=True)
class Person:
    """The live rows of one person: `row`, which the call changes, and an invitation to merge into it."""

    row: Assignment
    invitation: Assignment | None = None

    @property
    def rows(self) -> Sequence[Assignment]:
        """The invitation, if any, then `row`: it must be released before `row` can get its address."""
        return (self.row,) if self.invitation is None else (self.invitation, self.row)

    def has_seat(self, seat_type: str | None) -> bool:
        """True if the person has a seat of the type. Free roles (None) need no seat: True.

        The invitation counts too, unless its seat is still to be bought.
        """
        if seat_type is None or (self.row.occupies_seat and self.row.seat_type == seat_type):
            return True
        invited = self.invitation
        return invited is not None and invited.awaits is None and invited.seat_type == seat_type

    def inherit_address(self) -> None:
        """Copy the released invitation's address to `row`, unless that has an address."""
        if self.invitation is not None and self.invitation.email is not None and self.row.email is None:
            self.row.set_address(self.invitation.email)


def find(session: Session, account_id: str, member_id: str, email: str | None) -> Person | None:
    """The person with this member id or address; None if there is none. The caller has locked the account.

    Raises `EmailTaken` if another member has the address, and not only an invitation.
    """
    own = assignment.live(session, account_id, member_id)
    addressed = None if email is None else assignment.live_address(session, account_id, email)
    return identify(own, addressed)


def identify(own: Assignment | None, addressed: Assignment | None) -> Person | None:
    """The person, given the live row with the member id (`own`) and the one with the address (`addressed`).

    Raises `EmailTaken` if another member has the address, and not only an invitation.
    """
    if addressed is None or addressed is own:
        return None if own is None else Person(own)
    if not addressed.is_invitation:
        raise email_taken(addressed)
    return Person(addressed) if own is None else Person(own, addressed)


def email_taken(holder: Assignment) -> EmailTaken:
    """The error that names the member who has the address."""
    return EmailTaken(
        f"Member {holder.member_id!r} of this account already has that e-mail address. Use that member id, "
        "or change the member's id (POST .../members/ID/rename) or address (PATCH).",
        details={"member_id": holder.member_id, "state": holder.state},
    )


def merge(session: Session, person: Person, at: datetime) -> None:
    """Release the person's invitation, if any, and move its address to the row that stays."""
    if person.invitation is not None:
        person.invitation.give_back(at)
        session.flush()  # the unique index allows the address on another row only after the release
        person.inherit_address()
