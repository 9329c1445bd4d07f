"""Many claims at once: each for itself, or all or none."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from models import seating
from models.audit import Cause
from models.book import forget_written
from models.seating import Seated, Wish
from seats.catalog import Catalog
from seats.errors import Refused, SeatSyncError, UnknownRole

Outcome = Seated | SeatSyncError


def claim_each(
    session: Session, account_id: str, wishes: Sequence[Wish], catalog: Catalog, cause: Cause
) -> Sequence[Outcome]:
    """What each claim came to, in their order: one that is refused stops no other.

    Raises `AccountNotFound`, since then there is nothing to claim.
    """
    return [_outcome(session, account_id, wish, catalog, cause) for wish in wishes]


def claim_all(
    session: Session, account_id: str, wishes: Sequence[Wish], catalog: Catalog, cause: Cause
) -> tuple[bool, Sequence[Outcome]]:
    """Whether all were granted, and what each came to; if one is refused, nothing was changed."""
    try:
        with session.begin_nested():
            return True, _granted(claim_each(session, account_id, wishes, catalog, cause))
    except _NotAllError as stopped:
        forget_written(session, account_id)
        return False, stopped.outcomes


class _NotAllError(Exception):
    """Leads out of the savepoint, and takes back what was granted."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("not all claims were granted")
        self.outcomes = outcomes


def _granted(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    if not all(isinstance(outcome, Seated) for outcome in outcomes):
        raise _NotAllError(outcomes)
    return outcomes


def _outcome(session: Session, account_id: str, wish: Wish, catalog: Catalog, cause: Cause) -> Outcome:
    try:
        return seating.claim(session, account_id, wish, catalog, cause)
    except (Refused, UnknownRole) as error:
        return error
