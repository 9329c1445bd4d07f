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

from domain.catalog.model import Catalog
from domain.errors import UnknownRole
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from services.ledger import claims
from services.ledger.locked_account import LockedAccount

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RoleMove:
    """A member who sits on `before` by a role that means `after` now; None is a free role."""

    member_id: str
    role: str
    before: str | None
    after: str | None


def pending(session: Session, account_id: str, catalog: Catalog) -> Sequence[RoleMove]:
    """The moves that the catalogue asks for in the account, in the order in which members came.

    A role that the catalogue does not know moves nobody; `unknown_roles` names those.
    """
    meant, _ = _meanings(session, account_id, catalog)
    return [
        RoleMove(person.member_id, person.role, person.seat_type, meant[person.role])
        for person in _misplaced(session, account_id, meant)
    ]


def unknown_roles(session: Session, account_id: str, catalog: Catalog) -> Sequence[str]:
    """Roles of live members that the catalogue does not know; who has one stays on the seat they have."""
    _, unknown = _meanings(session, account_id, catalog)
    return unknown


def move_all(account: LockedAccount, catalog: Catalog, cause: Cause) -> int:
    """Move everybody whose role means another seat type now, one audit entry each; how many were moved.

    The account has to be evaluated after it: only with what the changed catalogue gives worked out as well is
    it known whether a limit was crossed.
    """
    meant, unknown = _meanings(account.session, account.account_id, catalog)
    if unknown:
        log.warning(
            "roles unknown to the catalogue", extra={"account_id": account.account_id, "roles": unknown}
        )
    moved = _misplaced(account.session, account.account_id, meant)
    for person in moved:
        with claims.change_rows(account, (person,), cause):
            person.seat_type = meant[person.role]
    return len(moved)


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
