"""Many claims at once: each for itself, or all or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy.orm import Session

from models import seating, waiting
from models.audit import Cause
from models.seating import Seated, Wish
from models.session import forget_written
from seats.catalog import Catalog
from seats.errors import PurchaseNeeded, Refused, SeatSyncError, UnknownRole

Outcome = Seated | SeatSyncError


def claim_each(
    session: Session, account_id: str, wishes: Sequence[Wish], catalog: Catalog, cause: Cause
) -> Sequence[Outcome]:
    """What each claim came to, in their order: one that is refused, or waits for its seat, stops no other.

    Raises `AccountNotFound`, since then there is nothing to claim.
    """
    claim = partial(waiting.claim, session, account_id, catalog=catalog, cause=cause)
    return _outcomes(wishes, claim)


def claim_all(
    session: Session, account_id: str, wishes: Sequence[Wish], catalog: Catalog, cause: Cause
) -> tuple[bool, Sequence[Outcome]]:
    """Whether all were granted, and what each came to; if one is refused, nothing was changed. Nothing is
    bought for them: claims that wait might yet be refused, one by one.
    """
    try:
        with session.begin_nested():
            claim = partial(_claim_at_once, session, account_id, catalog=catalog, cause=cause)
            return True, _granted(_outcomes(wishes, claim))
    except _NotAllError as stopped:
        forget_written(session, account_id)
        return False, stopped.outcomes


def _claim_at_once(session: Session, account_id: str, wish: Wish, catalog: Catalog, cause: Cause) -> Seated:
    """As `seating.claim`; who waits for a seat already has none yet."""
    seated = seating.claim(session, account_id, wish, catalog, cause)
    if seated.assignment.awaits is not None:
        raise PurchaseNeeded(
            f"Member {wish.member_id!r} waits for a seat that is being bought.",
            details={"member_id": wish.member_id},
        )
    return seated


class _NotAllError(Exception):
    """Leads out of the savepoint, and takes back what was granted."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("not all claims were granted")
        self.outcomes = outcomes


def _granted(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    if not all(isinstance(outcome, Seated) for outcome in outcomes):
        raise _NotAllError(outcomes)
    return outcomes


def _outcomes(wishes: Sequence[Wish], claim: Callable[[Wish], Seated]) -> Sequence[Outcome]:
    return [_outcome(wish, claim) for wish in wishes]


def _outcome(wish: Wish, claim: Callable[[Wish], Seated]) -> Outcome:
    try:
        return claim(wish)
    except (Refused, UnknownRole) as error:
        return error
