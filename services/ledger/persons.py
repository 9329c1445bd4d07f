"""Persons: which live row of an account a call means. One rule for every entry point: one person, one seat.

A person is known by member id and by e-mail address. An invitation belongs to the person who has its
address, whatever id it was made under; any other row, a claim that waits for its seat among them, belongs to
its member id alone.
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
    """The live rows of one person: the one that the call acts on, and an invitation that is to be merged
    into it, if there is one.
    """

    row: Assignment
    invitation: Assignment | None = None

    @property
    def rows(self) -> Sequence[Assignment]:
        """The invitation first, so that it is released before its address moves to the other row."""
        return (self.row,) if self.invitation is None else (self.invitation, self.row)

    def has_seat(self, seat_type: str | None) -> bool:
        """True if the person needs no further seat of the type; None, the free roles, needs none.

        An invitation whose seat is still to be bought gives no seat to another row.
        """
        if seat_type is None or (self.row.occupies_seat and self.row.seat_type == seat_type):
            return True
        invited = self.invitation
        return invited is not None and invited.awaits is None and invited.seat_type == seat_type

    def inherit_address(self) -> None:
        """Once the invitation is released: its address goes to the other row, unless that has one."""
        if self.invitation is not None and self.invitation.email is not None and self.row.email is None:
            self.row.set_address(self.invitation.email)


def find(session: Session, account_id: str, member_id: str, email: str | None) -> Person | None:
    """The person with this member id or this address; None if there is nobody. The account is locked.

    Raises `EmailTaken` if the address belongs to another member who is not just invited.
    """
    own = assignment.live(session, account_id, member_id)
    addressed = None if email is None else assignment.live_address(session, account_id, email)
    return identify(own, addressed)


def identify(own: Assignment | None, addressed: Assignment | None) -> Person | None:
    """The person, given the live row under the member id and the one under the address.

    Raises `EmailTaken` if the address belongs to another member who is not just invited.
    """
    if addressed is None or addressed is own:
        return None if own is None else Person(own)
    if not addressed.is_invitation:
        raise email_taken(addressed)
    return Person(addressed) if own is None else Person(own, addressed)


def email_taken(holder: Assignment) -> EmailTaken:
    """The refusal that names the member who has the address."""
    return EmailTaken(
        f"Member {holder.member_id!r} of this account has that e-mail address already. Use that id; or give "
        "that member another id with POST .../members/ID/rename, or another address with PATCH.",
        details={"member_id": holder.member_id, "state": holder.state},
    )


def merge(session: Session, person: Person, at: datetime) -> None:
    """Release the invitation, if there is one; its address stays with the person."""
    if person.invitation is not None:
        person.invitation.give_back(at)
        session.flush()  # the address is free only now
        person.inherit_address()
