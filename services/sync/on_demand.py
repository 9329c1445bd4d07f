"""Resync: look at the provider now, because somebody waits for the answer.

It asks for a look like everybody else, by a hint, and then does the work itself if nobody else is at it.
So a late delivery cannot undo it, and many who ask at once share the same looks.
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
from providers.base import Caller
from runtime.wiring import Runtime
from services.ledger.locked_account import lock_account
from services.sync.backoff import growing_pauses
from services.sync.subscription import SyncOutcome, sync

PATIENCE: Final = 10.0
"""Seconds that a caller of the API waits at most."""

_WAITING: Final = {
    SyncOutcome.NOTHING_DUE,
    SyncOutcome.POSTPONED,
    SyncOutcome.KEY_REFUSED,
    SyncOutcome.BUDGET_SPENT,
    SyncOutcome.OUTDATED,
}


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What came of it: whether anything of the account changed, what differed or still does, and which
    subscriptions could not be looked at in time, each with the reason if there is one. `key_refused`: the
    provider does not take our API key, so another try helps only once a person has repaired it.
    """

    changed: bool
    drift: Sequence[DriftFinding]
    waiting: Sequence[PendingSync]
    key_refused: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a resync waits for, and where the audit stood before."""

    hints: dict[str, int]
    since: datetime
    newest_audit: int


def sync_account(runtime: Runtime, account_id: str, *, patience: float) -> SyncResult:
    """Look at every subscription of the account, for `patience` seconds at most.

    What is left after that is looked at as soon as it can be, unless it is dead. Raises `AccountNotFound`.
    """
    with runtime.sessions.begin() as session:
        lock_account(session, account_id)  # accounts before their subscriptions, as everybody locks them
        ids = [one.id for one in subscription.of_account(session, account_id)]
        asked = _ask(session, ids)
    return _work_on(runtime, asked, patience, Caller.INTERACTIVE)


def sync_subscription(
    runtime: Runtime, subscription_id: str, *, patience: float, caller: Caller = Caller.INTERACTIVE
) -> SyncResult:
    """The same for one subscription, known here or not."""
    with runtime.sessions.begin() as session:
        asked = _ask(session, [subscription_id])
    return _work_on(runtime, asked, patience, caller)


def _ask(session: Session, ids: Sequence[str]) -> _Asked:
    sync_queue.raise_hints(session, ids)
    return _Asked(
        hints=sync_queue.hints_of(session, ids),
        since=account.now(session),
        newest_audit=audit.newest(session),
    )


def _work_on(runtime: Runtime, asked: _Asked, patience: float, caller: Caller) -> SyncResult:
    waiting, key_refused = _look(runtime, asked.hints, caller, until=time.monotonic() + patience)
    with runtime.sessions() as session:
        return SyncResult(
            changed=audit.was_changed_by(session, list(asked.hints), after=asked.newest_audit),
            drift=drift_finding.about(session, list(asked.hints), since=asked.since),
            waiting=waiting,
            key_refused=key_refused,
        )


def _look(
    runtime: Runtime, hints: dict[str, int], caller: Caller, *, until: float
) -> tuple[Sequence[PendingSync], bool]:
    """Work on what is waited for until all is seen or the time is over; what still waits, and whether the
    provider refused the API key at the last try.
    """
    pauses = growing_pauses()
    key_refused = False
    while True:
        with runtime.sessions() as session:
            waiting = sync_queue.pending_syncs(session, hints)
        left = timedelta(seconds=until - time.monotonic())
        open_ones = [one for one in waiting if not one.is_dead and one.due_in < left]
        if key_refused or not open_ones or left <= timedelta():
            return waiting, key_refused
        outcomes = {
            sync(runtime, one.subscription_id, caller=caller) for one in open_ones if time.monotonic() < until
        }
        key_refused = SyncOutcome.KEY_REFUSED in outcomes
        if outcomes <= _WAITING:
            time.sleep(next(pauses))
