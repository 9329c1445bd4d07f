"""Sync on demand, for a caller that waits for the result.

The sync is requested through the queue like any other, then run in this process unless another worker holds
the lease. Concurrent callers share one retrieve, and a late webhook cannot overwrite the result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from models import account, audit, drift_finding, subscription, sync_queue
from models.drift_finding import DriftFinding
from models.sync_queue import PendingSync
from providers.base import Priority
from runtime.wiring import Runtime
from services.ledger.locked_account import lock_account
from services.sync.backoff import growing_pauses
from services.sync.subscription import SyncOutcome, sync

CALL_TIMEOUT: Final = 10.0
"""The longest that a call of the API waits, in seconds."""

# Nothing was done, so pause before the next try.
_IDLE: Final = {
    SyncOutcome.NOTHING_DUE,
    SyncOutcome.POSTPONED,
    SyncOutcome.KEY_REFUSED,
    SyncOutcome.BUDGET_SPENT,
    SyncOutcome.OUTDATED,
}


@dataclass(frozen=True, slots=True)
class SyncResult:
    """`changed`: the audit has new rows for the subscriptions. `drift`: findings about them that are open or
    were closed meanwhile. `waiting`: the subscriptions that could not be synced in time, with the last error.
    `key_refused`: the provider rejects our API key, so a retry helps only after somebody has replaced it.
    """

    changed: bool
    drift: Sequence[DriftFinding]
    waiting: Sequence[PendingSync]
    key_refused: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    """The hints to sync to, by subscription, and the database time and newest audit row before."""

    hints: dict[str, int]
    requested_at: datetime
    newest_audit: int


def sync_account(runtime: Runtime, account_id: str, *, patience: float) -> SyncResult:
    """Sync every subscription of the account, within `patience` seconds. Workers continue with the rest,
    except dead letters. Raises `AccountNotFound`.
    """
    with runtime.sessions.begin() as session:
        lock_account(session, account_id)  # the account before its subscriptions, as everywhere
        ids = [one.id for one in subscription.of_account(session, account_id)]
        request = _request_sync(session, ids)
    return _run(runtime, request, patience, Priority.INTERACTIVE)


def sync_subscription(
    runtime: Runtime, subscription_id: str, *, patience: float, priority: Priority = Priority.INTERACTIVE
) -> SyncResult:
    """Sync one subscription, stored or not, within `patience` seconds."""
    with runtime.sessions.begin() as session:
        request = _request_sync(session, [subscription_id])
    return _run(runtime, request, patience, priority)


def _request_sync(session: Session, ids: Sequence[str]) -> _Request:
    sync_queue.raise_hints(session, ids)
    return _Request(
        hints=sync_queue.hints_of(session, ids),
        requested_at=account.now(session),
        newest_audit=audit.newest(session),
    )


def _run(runtime: Runtime, request: _Request, patience: float, priority: Priority) -> SyncResult:
    waiting, key_refused = _sync_until(runtime, request.hints, priority, until=time.monotonic() + patience)
    with runtime.sessions() as session:
        return SyncResult(
            changed=audit.was_changed_by(session, list(request.hints), after=request.newest_audit),
            drift=drift_finding.about(session, list(request.hints), since=request.requested_at),
            waiting=waiting,
            key_refused=key_refused,
        )


def _sync_until(
    runtime: Runtime, hints: dict[str, int], priority: Priority, *, until: float
) -> tuple[Sequence[PendingSync], bool]:
    """Sync until every hint is covered, nothing more can become due, or the monotonic time `until`.

    Returns what is still pending, and whether the provider refused the API key at the last try.
    """
    pauses = growing_pauses()
    key_refused = False
    while True:
        with runtime.sessions() as session:
            pending = sync_queue.pending_syncs(session, hints)
        time_left = timedelta(seconds=until - time.monotonic())
        due_in_time = [one for one in pending if not one.is_dead and one.due_in < time_left]
        if key_refused or not due_in_time or time_left <= timedelta():
            return pending, key_refused
        outcomes = {
            sync(runtime, one.subscription_id, priority=priority)
            for one in due_in_time
            if time.monotonic() < until
        }
        key_refused = SyncOutcome.KEY_REFUSED in outcomes
        if outcomes <= _IDLE:
            time.sleep(next(pauses))
