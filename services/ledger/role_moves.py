"""Role moves: move members whose role means another seat type since the catalogue changed.

A move is never refused, even if no seat of the new type is available. It may push an account over its limit;
then the account's policy applies.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from domain.errors import UnknownRole
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from services.ledger import claims
from services.ledger.locked_account import LockedAccount

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RoleMove:
    """A member whose seat type is `before` and whose role means `after` now; None stands for a free role."""

    member_id: str
    role: str
    before: str | None
    after: str | None


def pending(session: Session, account_id: str, catalog: Catalog) -> Sequence[RoleMove]:
    """The moves that the catalogue requires in the account, oldest assignment first.

    Members with a role that the catalogue does not describe are not moved, see `unknown_roles`.
    """
    meant, _ = _new_seat_types(session, account_id, catalog)
    return [
        RoleMove(person.member_id, person.role, person.seat_type, meant[person.role])
        for person in _to_move(session, account_id, meant)
    ]


def unknown_roles(session: Session, account_id: str, catalog: Catalog) -> Sequence[str]:
    """Roles of live members that the catalogue does not describe. These members keep their seats."""
    _, unknown = _new_seat_types(session, account_id, catalog)
    return unknown


def move_all(account: LockedAccount, catalog: Catalog, cause: Cause) -> int:
    """Move all members whose role means another seat type now, with one audit entry each. Returns how many.

    Evaluate the account afterwards: limits can only be checked once its seats by the new catalogue are known.
    """
    meant, unknown = _new_seat_types(account.session, account.account_id, catalog)
    if unknown:
        log.warning(
            "roles unknown to the catalogue", extra={"account_id": account.account_id, "roles": unknown}
        )
    moved = _to_move(account.session, account.account_id, meant)
    for person in moved:
        with claims.change_rows(account, (person,), cause):
            person.seat_type = meant[person.role]
    return len(moved)


def _new_seat_types(
    session: Session, account_id: str, catalog: Catalog
) -> tuple[Mapping[str, str | None], Sequence[str]]:
    """The new seat type of each role that has members on another type, and the roles not in the catalogue."""
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


def _to_move(session: Session, account_id: str, meant: Mapping[str, str | None]) -> Sequence[Assignment]:
    """The live members with these roles whose seat type is not the one the role means."""
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
