"""Batch claims: many claims in one transaction, granted one by one or all together."""

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
    session: Session, account_id: str, requests: Sequence[ClaimRequest], catalog: Catalog, cause: Cause
) -> Sequence[Outcome]:
    """Claim each seat independently. Returns the outcome or error of each request, in their order.

    A refused or pending claim does not affect the others. Raises `AccountNotFound`.
    """
    with changing(session, account_id) as account:
        return _outcomes(
            requests, partial(pending_claims.claim_or_buy, account, catalog=catalog, cause=cause)
        )


def claim_all(
    session: Session, account_id: str, requests: Sequence[ClaimRequest], catalog: Catalog, cause: Cause
) -> tuple[bool, Sequence[Outcome]]:
    """Claim all seats, or none if one is refused. Returns whether all were granted, and each result.

    No seats are bought: pending claims could still be refused one by one later. Raises `AccountNotFound`.
    """
    account = lock_account(session, account_id)
    try:
        with session.begin_nested():
            outcomes = _granted(
                _outcomes(requests, partial(_claim_at_once, account, catalog=catalog, cause=cause))
            )
    except _NotAllError as error:
        return False, error.outcomes  # the account is not saved, so its recorded changes are dropped
    account.save()
    return True, outcomes


def _claim_at_once(
    account: LockedAccount, request: ClaimRequest, catalog: Catalog, cause: Cause
) -> ClaimOutcome:
    """Like `claims.claim_locked`, but raises `PurchaseNeeded` for a claim that is already pending."""
    outcome = claims.claim_locked(account, request, catalog, cause)
    if outcome.assignment.awaits is not None:
        raise PurchaseNeeded(
            f"The seat of member {request.member_id!r} is still being bought. Try again after the purchase.",
            details={"member_id": request.member_id},
        )
    return outcome


class _NotAllError(Exception):
    """Rolls back the savepoint, and with it the claims that were granted."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("not all claims were granted")
        self.outcomes = outcomes


def _granted(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    if not all(isinstance(outcome, ClaimOutcome) for outcome in outcomes):
        raise _NotAllError(outcomes)
    return outcomes


def _outcomes(
    requests: Sequence[ClaimRequest], claim: Callable[[ClaimRequest], ClaimOutcome]
) -> Sequence[Outcome]:
    return [_outcome(request, claim) for request in requests]


def _outcome(request: ClaimRequest, claim: Callable[[ClaimRequest], ClaimOutcome]) -> Outcome:
    try:
        return claim(request)
    except (Refused, UnknownRole) as error:
        return error
