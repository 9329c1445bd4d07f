"""Sweep: find all due rows, wake workers for them, and do the work here if the workers do not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from models import account, cancellation, generation, notice_endpoint, purchase_queue, seat_change, sync_queue
from models.audit import Cause
from models.sync_queue import Due
from runtime.wiring import Runtime
from services.ledger import accounts, claims
from services.ledger.locked_account import changing
from services.sync import reconcile
from services.sync.batch import drain, log_failure
from worker.wake_ups import Publish

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 500
_MOST_IN_ONE_WAKE_UP: Final = 50
# Routine syncs under way at a time, so that they never fill the queue before syncs that somebody waits for.
_MOST_ROUTINE: Final = 50
_WAKE_AGAIN_AFTER: Final = timedelta(seconds=5)
_BROKER_PATIENCE_SECONDS: Final = 10.0
# How long a sweep does the work of neglectful workers, before it continues with its own.
_HELP_SECONDS: Final = 3.0
# A reconcile that is still due this long after its first wake-up is done by the sweep.
_NEGLECTED_AFTER_SECONDS: Final = 60.0


@dataclass(slots=True)
class Sweep:
    """One sweeper's state between its sweeps.

    `publish` wakes a worker for subscriptions, and the optional functions wake one for notices, for the
    reconcile and for seat changes. `broker_lost_at` is the monotonic time since which they fail,
    `reconcile_due_since` the one since which a reconcile has been due.
    """

    runtime: Runtime
    publish: Publish
    wake_notices: Callable[[], None] | None = None
    wake_reconcile: Callable[[], None] | None = None
    wake_changes: Callable[[], None] | None = None
    broker_lost_at: float | None = field(default=None, init=False)
    reconcile_due_since: float | None = field(default=None, init=False)

    def once(self) -> int:
        """Do one sweep; return how many subscriptions were due."""
        with self.runtime.sessions.begin() as session:
            due = sync_queue.due_to_wake(
                session, limit=_MOST_AT_ONCE, routine_limit=_MOST_ROUTINE, again=_WAKE_AGAIN_AFTER
            )
        is_published = self._sync_or_wake(due)
        self._evaluate_due_accounts()
        if is_published:
            self._wake_for_due_notices()
            self._wake_for_due_changes()
        self._reconcile_if_due()
        return len(due.all)

    def _sync_or_wake(self, due: Due) -> bool:
        """Wake workers for the due subscriptions. Sync them here if the broker has been unreachable for a
        while, and for a few seconds those that workers were woken for before: the queue, the workers or their
        clocks may be at fault. Returns whether the broker took the wake-ups.
        """
        is_published = not due.all or self._try_publish(lambda: self._publish(due))
        if not is_published and self._is_broker_lost():
            drain(self.runtime, due.awaited)
            drain(self.runtime, due.routine)
        elif due.neglected:
            log.warning("subscriptions neglected by workers", extra={"subscriptions": len(due.neglected)})
            drain(self.runtime, due.neglected, seconds=_HELP_SECONDS)
        return is_published

    def _publish(self, due: Due) -> None:
        for kind in (due.awaited, due.routine):
            for start in range(0, len(kind), _MOST_IN_ONE_WAKE_UP):
                self.publish(kind[start : start + _MOST_IN_ONE_WAKE_UP])

    def _try_publish(self, publish: Callable[[], None]) -> bool:
        try:
            publish()
        except Exception as error:  # noqa: BLE001  every broker client has errors of its own
            if self.broker_lost_at is None:
                self.broker_lost_at = time.monotonic()
                log.warning("broker unreachable", extra={"error": type(error).__name__})
            return False
        self.broker_lost_at = None
        return True

    def _is_broker_lost(self) -> bool:
        lost_at = self.broker_lost_at
        return lost_at is not None and time.monotonic() - lost_at >= _BROKER_PATIENCE_SECONDS

    def _evaluate_due_accounts(self) -> None:
        """Evaluate accounts in which a date was reached (deadline, contract, invitation), or which the
        present catalogue has not evaluated yet. Does nothing if a newer catalogue or release is in force.
        """
        catalog = self.runtime.catalog
        with self.runtime.sessions.begin() as session:
            if not generation.may_evaluate(session, catalog):
                return
            due = account.due_for_evaluation(session, catalog_digest=catalog.digest, limit=_MOST_AT_ONCE)
        cause = Cause(
            actor="system:sweep", source="clock", reason="a date was reached or the catalogue changed"
        )
        for account_id in due:
            with (
                log_failure("account evaluation failed", account_id=account_id),
                self.runtime.transaction() as session,
                changing(session, account_id) as locked,
            ):
                claims.release_lapsed(locked)
                accounts.reevaluate_locked(locked, catalog, cause)

    def _wake_for_due_notices(self) -> None:
        """Notices are never sent by the sweep itself: an endpoint that hangs would delay it."""
        if self.wake_notices is None:
            return
        with self.runtime.sessions() as session:
            is_due = notice_endpoint.any_due(session)
        if is_due:
            self._try_publish(self.wake_notices)

    def _wake_for_due_changes(self) -> None:
        """Seat changes are never settled by the sweep itself: the provider may be slow."""
        if self.wake_changes is None:
            return
        with self.runtime.sessions() as session:
            is_due = bool(
                seat_change.due_changes(session, limit=1)
                or cancellation.due(session, limit=1)
                or purchase_queue.due_accounts(session, limit=1)
            )
        if is_due:
            self._try_publish(self.wake_changes)

    def _reconcile_if_due(self) -> None:
        """Wake a worker for it. Do a little of it here if the broker has been unreachable, or the reconcile
        due, for a while.
        """
        if self.wake_reconcile is None:
            return
        if not reconcile.is_due(self.runtime):
            self.reconcile_due_since = None
            return
        if self.reconcile_due_since is None:
            self.reconcile_due_since = time.monotonic()
        is_neglected = time.monotonic() - self.reconcile_due_since >= _NEGLECTED_AFTER_SECONDS
        if (not self._try_publish(self.wake_reconcile) and self._is_broker_lost()) or is_neglected:
            with log_failure("reconcile failed"):
                reconcile.reconcile(self.runtime, until=time.monotonic())
