"""Settle cancellations, and undos of them, that were sent: sync the subscription until it shows the outcome.

The provider's 200 is not the outcome: it counts once a snapshot shows it, see
`services.ledger.cancellations`. A request is sent once; if its response was lost, only syncs decide.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from models import account, cancellation
from models.cancellation import Cancellation, CancellationState
from models.subscription import Subscription
from providers.base import Priority
from runtime.wiring import Runtime
from services.ledger import cancellations
from services.purchases.refresh import sync_now
from services.sync.backoff import backoff

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 50
# A request whose response was lost may still arrive at the provider. Longer than any request can take.
_MAY_STILL_ARRIVE: Final = timedelta(minutes=1)
# The provider could not be read for so long that the caller gets an answer all the same.
_GIVEN_UP_AFTER: Final = timedelta(days=1)
SHORTEST_RETRY_SECONDS: Final = 2.0
_NOT_APPLIED: Final = (
    "The subscription does not show the cancellation: the request never arrived. The subscription goes on. "
    "Preview again if it is still to end."
)
_UNDO_NOT_APPLIED: Final = (
    "The subscription still ends at its next billing date: the request to keep it never arrived. Undo the "
    "cancellation again if the subscription is to go on."
)

_NOT_READ: Final = (
    "The subscription could not be read for a day, so it is not known whether the cancellation has arrived. "
    "Check the subscription in the provider's dashboard."
)
_UNDO_NOT_READ: Final = (
    "The subscription could not be read for a day, so it is not known whether the request to keep it has "
    "arrived. Check the subscription in the provider's dashboard."
)


def settle_due(runtime: Runtime, *, until: float) -> None:
    """Settle the cancellations that are due, until the monotonic time `until`. A failure does not stop the
    next.
    """
    with runtime.sessions() as session:
        due = cancellation.due(session, limit=_MOST_AT_ONCE)
    for cancellation_id in due:
        if time.monotonic() >= until:
            return
        with runtime.sessions.begin() as session:
            # Before anything can fail or kill the process, so that the others have their turn first.
            cancellation.postpone(session, cancellation_id, timedelta(seconds=backoff(10)))
        try:
            settle(runtime, cancellation_id)
        except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
            log.error(  # noqa: TRY400
                "cancellation not settled",
                extra={"cancellation_id": cancellation_id, "error": type(error).__name__},
            )


def settle(runtime: Runtime, cancellation_id: str, *, priority: Priority = Priority.WEBHOOK) -> Cancellation:
    """Try to find the outcome of a cancellation or undo that was sent, and return the cancellation as it
    stands then.
    """
    with runtime.sessions() as session:
        row, now = session.get_one(Cancellation, cancellation_id), account.now(session)
    if _sent_at(row) is not None:
        sync_now(runtime, row.subscription_id, priority=priority)
        _conclude(runtime, row.id, now)
    with runtime.sessions() as session:
        return session.get_one(Cancellation, cancellation_id)


def _sent_at(row: Cancellation) -> datetime | None:
    """When the request with an unknown outcome was sent; None if there is none."""
    return row.sent_at if row.state == CancellationState.SUBMITTED else row.undo_sent_at


def _conclude(runtime: Runtime, cancellation_id: str, checked_at: datetime) -> None:
    """Fail the request if it can no longer arrive and a snapshot retrieved after `checked_at` does not show
    it, or if the subscription could not be read for too long. Otherwise check again later.
    """
    with runtime.sessions.begin() as session:
        row = cancellation.lock_with_account(session, cancellation_id)
        sent_at = _sent_at(row)
        if sent_at is None:
            return
        verified_at = session.get_one(Subscription, row.subscription_id).verified_at
        was_synced = verified_at is not None and verified_at >= checked_at
        age = checked_at - sent_at
        if was_synced and age >= _MAY_STILL_ARRIVE:
            _fail(session, row, is_known=True)
            return
        if age >= _GIVEN_UP_AFTER:
            _fail(session, row, is_known=False)
            return
        row.attempts += 1
        pause = max(SHORTEST_RETRY_SECONDS, backoff(row.attempts))
        row.next_at = account.now(session) + timedelta(seconds=pause)


def _fail(session: Session, row: Cancellation, *, is_known: bool) -> None:
    """Fail the cancellation or its undo. `is_known`: a sync has read the subscription without it."""
    if row.state == CancellationState.SUBMITTED:
        code, message = (
            (cancellation.NOT_APPLIED, _NOT_APPLIED) if is_known else (cancellation.NOT_READ, _NOT_READ)
        )
        cancellations.fail(session, row, code, message, helps=is_known)
        return
    code, message = cancellation.UNDO_NOT_READ, _UNDO_NOT_READ
    if is_known:
        code, message = cancellation.UNDO_NOT_APPLIED, _UNDO_NOT_APPLIED
    cancellations.fail_undo(session, row, code, message, helps=is_known)
