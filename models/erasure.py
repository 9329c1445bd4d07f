"""Erasing a person: what is personal goes for good, the seats and the audit stay as they are.

Personal are the name and the address of assignments, and answers kept under an `Idempotency-Key` that
repeat them. The audit never held either: it knows people by the ids that the app chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_, update
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from models.assignment import Assignment, normalise_email
from models.base import affected
from models.book import open_book
from models.idempotency import forget_answers

_IS_PERSONAL = or_(Assignment.name.is_not(None), Assignment.email.is_not(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whose data it is: one of `member_id` and `email`; in one account, or in all of them."""

    member_id: str | None = None
    email: str | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What one account keeps of the person: assignments, and those of them with a name or an address."""

    account_id: str
    member_ids: tuple[str, ...]
    assignments: int
    personal: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What is gone from one account."""

    assignments: int
    answers: int


def traces(session: Session, person: Person) -> Sequence[Trace]:
    """Where the person is known, released assignments included, by account."""
    found = session.execute(
        select(
            Assignment.account_id,
            func.array_agg(Assignment.member_id.distinct()),
            func.count(),
            func.count().filter(_IS_PERSONAL),
        )
        .where(_is(person))
        .group_by(Assignment.account_id)
        .order_by(Assignment.account_id)
    )
    return [Trace(account_id, tuple(ids), count, personal) for account_id, ids, count, personal in found]


def erase(session: Session, trace: Trace) -> Erased:
    """Erase the name and the address of these members of the account, and the answers that repeat them.

    Doing it twice does it once. Nobody's seat moves, so there is nothing for the audit to say.
    """
    open_book(session, trace.account_id)
    theirs = and_(Assignment.account_id == trace.account_id, Assignment.member_id.in_(trace.member_ids))
    said = session.execute(select(Assignment.name, Assignment.email).where(theirs)).all()
    values = sorted({value for row in said for value in row if value})
    answers = forget_answers(session, trace.account_id, member_ids=trace.member_ids, values=values)
    gone = update(Assignment).where(theirs, _IS_PERSONAL).values(name=None, email=None)
    return Erased(affected(session, gone), answers)


def _is(person: Person) -> ColumnElement[bool]:
    """The person's assignments: by address also those of the same member before they had it."""
    here = sql("true") if person.account_id is None else Assignment.account_id == person.account_id
    if person.email is None:
        return and_(here, Assignment.member_id == person.member_id)
    addressed = select(Assignment.account_id, Assignment.member_id).where(
        here, Assignment.email == normalise_email(person.email)
    )
    return tuple_(Assignment.account_id, Assignment.member_id).in_(addressed)
