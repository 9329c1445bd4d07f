"""Sweep: ring for every row that is due, whatever became of its wake_ups."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from models import account, generation, notice_endpoint, purchase_queue, seat_change, sync_queue
from models.audit import Cause
from models.sync_queue import Due
from runtime.wiring import Runtime
from services.ledger import accounts, claims
from services.ledger.locked_account import changing
from services.sync import reconcile
from services.sync.batch import drain, one_failure_stops_no_other
from worker.wake_ups import Publish

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 500
_MOST_IN_ONE_RING: Final = 50
# At a time: what only the timer asks for must never fill the queue before what somebody waits for.
_MOST_ROUTINE: Final = 50
_RING_AGAIN: Final = timedelta(seconds=5)
_BROKER_PATIENCE: Final = 10.0
# So long a sweep does the workers' work: the rest of its own must not wait for long.
_HELP_FOR: Final = 3.0
# Work that is still due so long after the first wake-up for it is done here.
_NEGLECTED_AFTER: Final = 60.0


@dataclass(slots=True)
class Sweep:
    """Goes over the rows again and again. `broker_lost_at` is when ringing last began to fail.

    `wake_notices` rings for notices; they wait while the broker is away. `wake_reconcile` rings for what
    is due of it, `wake_changes` for seat changes whose outcome is not known, or that claims wait for.
    """

    runtime: Runtime
    publish: Publish
    wake_notices: Callable[[], None] | None = None
    wake_reconcile: Callable[[], None] | None = None
    wake_changes: Callable[[], None] | None = None
    broker_lost_at: float | None = field(default=None, init=False)
    reconcile_due_since: float | None = field(default=None, init=False)

    def once(self) -> int:
        """Wake workers for what is due; the number of subscriptions that are.

        Works them off here if the broker has been away for a while, and for a moment those that stay due
        although workers were woken: their clocks, their queue or they themselves may be at fault.
        """
        with self.runtime.sessions.begin() as session:
            due = sync_queue.claim_due(
                session, limit=_MOST_AT_ONCE, routine_limit=_MOST_ROUTINE, again=_RING_AGAIN
            )
        was_published = not due.all or self._was_published(lambda: self._ring(due))
        if not was_published and self._broker_is_gone():
            drain(self.runtime, due.awaited)
            drain(self.runtime, due.routine)
        elif due.neglected:
            log.warning("subscriptions neglected by workers", extra={"subscriptions": len(due.neglected)})
            drain(self.runtime, due.neglected, seconds=_HELP_FOR)
        self._evaluate_due_accounts()
        if was_published:
            self._announce_due_notices()
            self._ring_for_due_changes()
        self._reconcile_if_due()
        return len(due.all)

    def _ring(self, due: Due) -> None:
        for kind in (due.awaited, due.routine):
            for start in range(0, len(kind), _MOST_IN_ONE_RING):
                self.publish(kind[start : start + _MOST_IN_ONE_RING])

    def _was_published(self, ring: Callable[[], None]) -> bool:
        try:
            ring()
        except Exception as error:  # noqa: BLE001  every broker client has errors of its own
            if self.broker_lost_at is None:
                self.broker_lost_at = time.monotonic()
                log.warning("broker away", extra={"error": type(error).__name__})
            return False
        self.broker_lost_at = None
        return True

    def _broker_is_gone(self) -> bool:
        lost_at = self.broker_lost_at
        return lost_at is not None and time.monotonic() - lost_at >= _BROKER_PATIENCE

    def _evaluate_due_accounts(self) -> None:
        """Deadlines, contract days, lapsing invitations and a changed catalogue: time is their event.

        The first sweep by a new catalogue brings it into force; none is made by one that was replaced.
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
                one_failure_stops_no_other("account_id", account_id),
                self.runtime.transaction() as session,
                changing(session, account_id) as locked,
            ):
                claims.release_lapsed(locked)
                accounts.reevaluate_locked(locked, catalog, cause)

    def _announce_due_notices(self) -> None:
        """Never sent from here: an endpoint that hangs must not hold up the sweep."""
        if self.wake_notices is None:
            return
        with self.runtime.sessions() as session:
            is_due = notice_endpoint.any_due(session)
        if is_due:
            self._was_published(self.wake_notices)

    def _ring_for_due_changes(self) -> None:
        """Never settled from here, for the same reason."""
        if self.wake_changes is None:
            return
        with self.runtime.sessions() as session:
            is_due = bool(
                seat_change.due_changes(session, limit=1) or purchase_queue.due_accounts(session, limit=1)
            )
        if is_due:
            self._was_published(self.wake_changes)

    def _reconcile_if_due(self) -> None:
        """Wake a worker for it, or do a little of it here if broker or workers have been away for a while."""
        if self.wake_reconcile is None:
            return
        if not reconcile.is_due(self.runtime):
            self.reconcile_due_since = None
            return
        if self.reconcile_due_since is None:
            self.reconcile_due_since = time.monotonic()
        is_neglected = time.monotonic() - self.reconcile_due_since >= _NEGLECTED_AFTER
        if (not self._was_published(self.wake_reconcile) and self._broker_is_gone()) or is_neglected:
            with one_failure_stops_no_other("work", "reconcile"):
                reconcile.reconcile(self.runtime, until=time.monotonic())
