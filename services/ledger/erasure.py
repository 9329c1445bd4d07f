"""Erase a person's data for good. Seats and the audit stay as they are.

Erased are names and e-mail addresses of assignments, and stored responses of an `Idempotency-Key` that repeat
them. The audit has neither: it names members by the ids that the app chose.
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
class ErasureRequest:
    """A person, named by either `member_id` or `email`, in one account or (None) in all."""

    member_id: str | None = None
    email: str | None = None
    account_id: str | None = None

    def __post_init__(self) -> None:
        # An empty value would match everybody who has none.
        if bool(self.member_id) == bool(self.email and self.email.strip()):
            raise ValueError("name the person by a member id or by an e-mail address, not by both")


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What one account stores about the person.

    `assignments` is the number of assignments, `personal` the number of those with a name or an address.
    `other_ids` are member ids that share only the person's address, such as the id of an invitation that was
    confirmed under another one. Other data under these ids is not the person's.
    """

    person: ErasureRequest
    account_id: str
    member_ids: tuple[str, ...]
    other_ids: tuple[str, ...]
    assignments: int
    personal: int


@dataclass(frozen=True, slots=True)
class Erased:
    """The numbers of assignments and stored responses that were erased in one account."""

    assignments: int
    answers: int


def personal_data(session: Session, person: ErasureRequest) -> Sequence[PersonalData]:
    """What is stored about the person, by account, including released assignments."""
    found = session.execute(
        select(Assignment.account_id, Assignment.member_id, _IS_PERSONAL)
        .where(_belongs_to(person))
        .order_by(Assignment.account_id, Assignment.member_id)
    )
    return [
        _personal_data(person, account_id, [(member_id, is_personal) for _, member_id, is_personal in rows])
        for account_id, rows in groupby(found, key=lambda row: row[0])
    ]


def _personal_data(person: ErasureRequest, account_id: str, rows: Sequence[tuple[str, bool]]) -> PersonalData:
    """`rows` holds, for each assignment, the member id and whether it has a name or an address."""
    ids = tuple(dict.fromkeys(member_id for member_id, _ in rows))
    own_ids = ids if person.member_id is None else (person.member_id,)
    others = tuple(member_id for member_id in ids if member_id not in own_ids)
    return PersonalData(
        person, account_id, own_ids, others, len(rows), sum(is_personal for _, is_personal in rows)
    )


def erase(session: Session, data: PersonalData) -> Erased:
    """Erase the person's names and addresses in the account, and the stored responses that repeat them.

    Safe to repeat. No seat changes, so there is no audit row.
    """
    lock_account(session, data.account_id)
    is_theirs = _belongs_to(replace(data.person, account_id=data.account_id))
    rows = session.execute(select(Assignment.name, Assignment.email).where(is_theirs)).all()
    values = sorted({value for row in rows for value in row if value})
    answers = delete_answers(session, data.account_id, member_ids=data.member_ids, values=values)
    erased = update(Assignment).where(is_theirs, _IS_PERSONAL).values(name=None, email=None, email_key=None)
    return Erased(affected(session, erased), answers)


def _belongs_to(person: ErasureRequest) -> ColumnElement[bool]:
    """The condition for the person's assignments.

    A person named by address also has the assignments that the same member had before the address was known.
    A person named by member id also has the assignments of the account with one of their addresses, because
    one address stands for one person.
    """
    in_scope = sql("true") if person.account_id is None else Assignment.account_id == person.account_id
    if person.email is None:
        named = Assignment.member_id == person.member_id
        addresses = select(Assignment.account_id, Assignment.email_key).where(
            in_scope, named, Assignment.email_key.is_not(None)
        )
        return and_(in_scope, or_(named, tuple_(Assignment.account_id, Assignment.email_key).in_(addresses)))
    addressed = select(Assignment.account_id, Assignment.member_id).where(
        in_scope, Assignment.email_key == address_key(person.email)
    )
    return and_(in_scope, tuple_(Assignment.account_id, Assignment.member_id).in_(addressed))
