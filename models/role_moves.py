"""Role moves: members whose role means another seat type since the catalogue changed.

Nobody is asked for a seat here: who sits keeps sitting, on the kind of seat the role means now. An account
may come to be over its limit by that, and its policy says what follows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.base import Json
from models.book import Book, Subject, post
from seats.catalog import Catalog
from seats.errors import UnknownRole

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Move:
    """A member who sits on `before` by a role that means `after` now; None is a free role."""

    member_id: str
    role: str
    before: str | None
    after: str | None


def pending(session: Session, account_id: str, catalog: Catalog) -> Sequence[Move]:
    """The moves that the catalogue asks for in the account, in the order in which members came.

    A role that the catalogue does not know moves nobody; `unknown_roles` names those.
    """
    meant, _ = _meanings(session, account_id, catalog)
    return [
        Move(person.member_id, person.role, person.seat_type, meant[person.role])
        for person in _misplaced(session, account_id, meant)
    ]


def unknown_roles(session: Session, account_id: str, catalog: Catalog) -> Sequence[str]:
    """Roles of live members that the catalogue does not know; who has one stays on the seat they have."""
    _, unknown = _meanings(session, account_id, catalog)
    return unknown


def carry_out(session: Session, book: Book, catalog: Catalog, cause: Cause) -> int:
    """Move everybody whose role means another seat type now, one audit row each; how many were moved.

    The book has to be restated after it: only with what the changed catalogue gives worked out as well is it
    known whether a limit was crossed. Then the limits are judged, and the app is told.
    """
    meant, unknown = _meanings(session, book.account_id, catalog)
    if unknown:
        log.warning("roles unknown to the catalogue", extra={"account": book.account_id, "roles": unknown})
    moved = _misplaced(session, book.account_id, meant)
    was = [(person.facts(), person.seat_type) for person in moved]
    for person in moved:
        person.seat_type = meant[person.role]
    session.flush()
    for person, (facts, seat_type) in zip(moved, was, strict=True):
        _post(session, book, person, cause, facts=facts, left=seat_type)
    return len(moved)


def _post(
    session: Session, book: Book, person: Assignment, cause: Cause, *, facts: Json, left: str | None
) -> None:
    book.move(left, -person.counted, is_half=True)
    book.move(person.seat_type, person.counted, is_half=True)
    subject = Subject(member_id=person.member_id, before=facts, after=person.facts())
    # Half of a change is no news; what it comes to is told when the account has been worked out anew.
    post(session, book, cause, subject, is_news=False)


def _meanings(
    session: Session, account_id: str, catalog: Catalog
) -> tuple[Mapping[str, str | None], Sequence[str]]:
    """What the account's live roles mean where somebody sits elsewhere, and the roles nobody described."""
    pairs = session.execute(
        select(Assignment.role, Assignment.seat_type)
        .where(Assignment.account_id == account_id, Assignment.state != AssignmentState.RELEASED)
        .distinct()
    )
    meant: dict[str, str | None] = {}
    unknown: set[str] = set()
    for role, seat_type in pairs:
        try:
            meaning = catalog.seat_type(role)
        except UnknownRole:
            unknown.add(role)
            continue
        if meaning != seat_type:
            meant[role] = meaning
    return meant, sorted(unknown)


def _misplaced(session: Session, account_id: str, meant: Mapping[str, str | None]) -> Sequence[Assignment]:
    """The live members of these roles who sit on another type than the role means."""
    if not meant:
        return []
    found = session.scalars(
        select(Assignment)
        .where(
            Assignment.account_id == account_id,
            Assignment.state != AssignmentState.RELEASED,
            Assignment.role.in_(meant),
        )
        .order_by(Assignment.id)
    )
    return [person for person in found if person.seat_type != meant[person.role]]
