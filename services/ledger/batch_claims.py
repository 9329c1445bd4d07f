"""Many claims at once: each for itself, or all or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from domain.errors import PurchaseNeeded, Refused, SeatSyncError, UnknownRole
from models.audit import Cause
from services.ledger import claims, pending_claims
from services.ledger.claims import ClaimOutcome, ClaimRequest
from services.ledger.locked_account import LockedAccount, changing, lock_account

Outcome = ClaimOutcome | SeatSyncError


def claim_each(
    session: Session, account_id: str, wishes: Sequence[ClaimRequest], catalog: Catalog, cause: Cause
) -> Sequence[Outcome]:
    """What each claim came to, in their order: one that is refused, or waits for its seat, stops no other.

    Raises `AccountNotFound`, since then there is nothing to claim.
    """
    with changing(session, account_id) as account:
        return _outcomes(wishes, partial(pending_claims.claim_or_buy, account, catalog=catalog, cause=cause))


def claim_all(
    session: Session, account_id: str, wishes: Sequence[ClaimRequest], catalog: Catalog, cause: Cause
) -> tuple[bool, Sequence[Outcome]]:
    """Whether all were granted, and what each came to; if one is refused, nothing was changed. Nothing is
    bought for them: claims that wait might yet be refused, one by one.
    """
    account = lock_account(session, account_id)
    try:
        with session.begin_nested():
            outcomes = _granted(
                _outcomes(wishes, partial(_claim_at_once, account, catalog=catalog, cause=cause))
            )
    except _NotAllError as stopped:
        return False, stopped.outcomes  # and what was recorded is never saved
    account.save()
    return True, outcomes


def _claim_at_once(
    account: LockedAccount, wish: ClaimRequest, catalog: Catalog, cause: Cause
) -> ClaimOutcome:
    """As `seating.seat`; who waits for a seat already has none yet."""
    seated = claims.claim_locked(account, wish, catalog, cause)
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
    if not all(isinstance(outcome, ClaimOutcome) for outcome in outcomes):
        raise _NotAllError(outcomes)
    return outcomes


def _outcomes(
    wishes: Sequence[ClaimRequest], claim: Callable[[ClaimRequest], ClaimOutcome]
) -> Sequence[Outcome]:
    return [_outcome(wish, claim) for wish in wishes]


def _outcome(wish: ClaimRequest, claim: Callable[[ClaimRequest], ClaimOutcome]) -> Outcome:
    try:
        return claim(wish)
    except (Refused, UnknownRole) as error:
        return error
