"""Full sync: walk the provider's list, request a sync wherever something differs, and wait for the results.

Requests are rows, so workers help, an interruption loses nothing, and a second call waits for what is left.
Memory stays flat whatever the number of subscriptions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from models import account, reconcile_pass, sync_queue
from models.subscription import Subscription
from runtime.wiring import Runtime
from services.sync import progress as sync_progress
from services.sync import reconcile
from services.sync.batch import drain
from services.sync.subscription import SyncOutcome

log = logging.getLogger(__name__)

_REPORT_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.25
_MOST_AT_ONCE: Final = 50
_SLICE: Final = 1000

# After one of these the next subscription would fail for the same reason.
_STOPS: Final = {
    SyncOutcome.BUDGET_SPENT,
    SyncOutcome.POSTPONED,
    SyncOutcome.KEY_REFUSED,
    SyncOutcome.OUTDATED,
}

_ListSlice = Callable[..., Sequence[str]]


@dataclass(frozen=True, slots=True)
class Progress:
    """`listed`: subscriptions listed so far; `is_listed`: the list was read to its end; `left`: syncs still
    to finish, 0 before that. `waits_for`: why there is no progress, if that is known.
    """

    listed: int
    is_listed: bool = False
    left: int = 0
    waits_for: str | None = None

    @property
    def is_done(self) -> bool:
        return self.is_listed and not self.left


@dataclass(slots=True)
class _Timeout:
    """Expires once `restart` has not been called for `seconds`."""

    seconds: float
    expires_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.expires_at = time.monotonic() + self.seconds

    @property
    def has_expired(self) -> bool:
        return time.monotonic() >= self.expires_at


def full_sync(runtime: Runtime, *, everything: bool = False, patience: float) -> Iterator[Progress]:
    """Run the full sync, yielding its progress about once a second; `is_done` of the last one tells whether
    it was completed.

    With `everything`, sync every known subscription, not only those where the list differs. Gives up after
    `patience` seconds in which the provider only failed; waits as long as it takes for request budget.
    """
    progress = Progress(listed=0)
    for progress in _read_list(runtime, patience):
        yield progress
    if not progress.is_listed:
        return
    if everything:
        _request_syncs(runtime, sync_progress.all_known)
    _request_syncs(runtime, sync_progress.stuck)
    with runtime.sessions.begin() as session:
        sync_queue.retry_failed_now(session, longer_than=timedelta(0))
    yield from _work_until_done(runtime, progress.listed, patience)


def _read_list(runtime: Runtime, patience: float) -> Iterator[Progress]:
    """Complete a pass that starts from now on. A pass that is already running may be beyond subscriptions
    that changed since, so it is finished first and another one begun.
    """
    with runtime.sessions() as session:
        requested_at = account.now(session)
    reconcile.begin(runtime, now=True)
    previous_position = (0, 0)
    timeout = _Timeout(patience)
    while True:
        reconcile.walk(runtime, until=time.monotonic() + _REPORT_SECONDS)
        with runtime.sessions() as session:
            completed = sync_progress.finished_pass(session, runtime.provider.name, begun_since=requested_at)
            newest = reconcile_pass.newest(session, runtime.provider.name)
        assert newest is not None  # it was begun above
        if completed is not None:
            yield Progress(completed.listed, is_listed=True)
            return
        if newest.finished_at is not None:
            reconcile.begin(runtime, now=True)
            continue
        yield Progress(newest.listed, waits_for=newest.last_error)
        position = (newest.id, newest.next_page)
        has_moved = position != previous_position
        if has_moved or not newest.failures:
            timeout.restart()
        elif timeout.has_expired:
            return
        if not has_moved:
            time.sleep(_POLL_SECONDS)
        previous_position = position


def _request_syncs(runtime: Runtime, list_slice: _ListSlice) -> None:
    """Request a routine sync of every id that `list_slice` returns, slice by slice."""
    after = ""
    while True:
        with runtime.sessions.begin() as session:
            ids = list_slice(session, after=after, limit=_SLICE)
            sync_queue.raise_hints(session, ids, routine=True)
        if not ids:
            return
        after = ids[-1]


def _work_until_done(runtime: Runtime, listed: int, patience: float) -> Iterator[Progress]:
    """Sync what is due, beside the workers, until no pending subscription is left that was not synced from
    now on.
    """
    with runtime.sessions() as session:
        requested_at = account.now(session)
    fewest, outcome, reason = None, None, None
    timeout = _Timeout(patience)
    while True:
        with runtime.sessions() as session:
            left = sync_progress.count_left(session, not_seen_since=requested_at)
        yield Progress(listed, is_listed=True, left=left, waits_for=reason)
        if not left:
            return
        has_moved = fewest is None or left < fewest
        if has_moved or outcome is SyncOutcome.BUDGET_SPENT:
            timeout.restart()
        elif timeout.has_expired:
            return
        if not has_moved:
            time.sleep(_POLL_SECONDS)
        fewest = left if fewest is None else min(left, fewest)
        if (last := _sync_due(runtime)) is not None:
            outcome, reason = last


def _sync_due(runtime: Runtime) -> tuple[SyncOutcome, str | None] | None:
    """Sync due subscriptions for a second, or until the provider cannot serve any more.

    Returns the outcome of the last sync, with the reason if it stopped the work; None if nothing was due.
    """
    with runtime.sessions.begin() as session:
        due = sync_queue.due_to_wake(
            session, limit=_MOST_AT_ONCE, routine_limit=_MOST_AT_ONCE, again=timedelta(0)
        )
    outcomes = drain(runtime, due.all, seconds=_REPORT_SECONDS, stops=_STOPS)
    if not outcomes:
        return None
    stops = [one for one, outcome in outcomes.items() if outcome in _STOPS]
    if not stops:
        return list(outcomes.values())[-1], None
    # A spent budget is waited for without a limit, so anything else counts first.
    stopped = min(stops, key=lambda one: outcomes[one] is SyncOutcome.BUDGET_SPENT)
    with runtime.sessions() as session:
        return outcomes[stopped], _reason(session, stopped, outcomes[stopped])


def _reason(session: Session, subscription_id: str, outcome: SyncOutcome) -> str | None:
    if outcome is SyncOutcome.BUDGET_SPENT:
        return "The request budget is spent for now."
    if outcome is SyncOutcome.OUTDATED:
        return (
            "A newer catalogue or release is in force, and its processes do the rest. Use that one, or bring "
            "this one back into force with `seatsync migrate`."
        )
    return session.get_one(Subscription, subscription_id).last_error
