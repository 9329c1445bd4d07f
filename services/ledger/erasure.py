"""Erasing a person: what is personal goes for good, the seats and the audit stay as they are.

Personal are the name and the address of assignments, and answers kept under an `Idempotency-Key` that
repeat them. The audit never held either: it knows people by the ids that the app chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sqlalchemy import ColumnElement, and_, or_, select, tuple_, update
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from domain.emails import address_key
from models.assignment import Assignment
from models.base import affected
from models.idempotency_key import delete_answers
from services.ledger.locked_account import lock_account

_IS_PERSONAL = or_(Assignment.name.is_not(None), Assignment.email.is_not(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whose data it is: one of `member_id` and `email`; in one account, or in all of them."""

    member_id: str | None = None
    email: str | None = None
    account_id: str | None = None

    def __post_init__(self) -> None:
        # Nothing is a name of everybody who has none.
        if bool(self.member_id) == bool(self.email and self.email.strip()):
            raise ValueError("a person is named by a member id or by an address, one of the two")


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What one account keeps of the person: assignments, and those of them with a name or an address.

    `other_ids` are ids under which only the person's address is found, as of an invitation that was
    taken up under another one; what else stands under them is not the person's.
    """

    person: Person
    account_id: str
    member_ids: tuple[str, ...]
    other_ids: tuple[str, ...]
    assignments: int
    personal: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What is gone from one account."""

    assignments: int
    answers: int


def personal_data(session: Session, person: Person) -> Sequence[PersonalData]:
    """Where the person is known, released assignments included, by account."""
    found = session.execute(
        select(Assignment.account_id, Assignment.member_id, _IS_PERSONAL)
        .where(_is(person))
        .order_by(Assignment.account_id, Assignment.member_id)
    )
    return [
        _trace(person, account_id, [(member_id, is_personal) for _, member_id, is_personal in rows])
        for account_id, rows in groupby(found, key=lambda row: row[0])
    ]


def _trace(person: Person, account_id: str, rows: Sequence[tuple[str, bool]]) -> PersonalData:
    """From the member id of each assignment, and whether the assignment is personal."""
    ids = tuple(dict.fromkeys(member_id for member_id, _ in rows))
    asked = ids if person.member_id is None else (person.member_id,)
    others = tuple(member_id for member_id in ids if member_id not in asked)
    return PersonalData(
        person, account_id, asked, others, len(rows), sum(is_personal for _, is_personal in rows)
    )


def erase(session: Session, trace: PersonalData) -> Erased:
    """Erase the person's names and addresses in the account, and the answers that repeat them.

    Doing it twice does it once. Nobody's seat moves, so there is nothing for the audit to say.
    """
    lock_account(session, trace.account_id)
    theirs = _is(replace(trace.person, account_id=trace.account_id))
    said = session.execute(select(Assignment.name, Assignment.email).where(theirs)).all()
    values = sorted({value for row in said for value in row if value})
    answers = delete_answers(session, trace.account_id, member_ids=trace.member_ids, values=values)
    gone = update(Assignment).where(theirs, _IS_PERSONAL).values(name=None, email=None, email_key=None)
    return Erased(affected(session, gone), answers)


def _is(person: Person) -> ColumnElement[bool]:
    """The person's assignments.

    By address also those of the same member before they had it; by member id also those of the same
    account under an address of theirs, for one address is one person.
    """
    here = sql("true") if person.account_id is None else Assignment.account_id == person.account_id
    if person.email is None:
        named = Assignment.member_id == person.member_id
        addresses = select(Assignment.account_id, Assignment.email_key).where(
            here, named, Assignment.email_key.is_not(None)
        )
        return and_(here, or_(named, tuple_(Assignment.account_id, Assignment.email_key).in_(addresses)))
    addressed = select(Assignment.account_id, Assignment.member_id).where(
        here, Assignment.email_key == address_key(person.email)
    )
    return and_(here, tuple_(Assignment.account_id, Assignment.member_id).in_(addressed))
