"""Reconcile: find what webhooks missed. It only requests syncs; the sync itself writes the result.

Two jobs, each spread over its period. A pass walks the provider's list, which shows most changes cheaply. The
rolling verification requests a sync of every subscription at least once per `verify_every`, because the list
shows no add-ons. All state is in the database, so any process may continue.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from domain.provider_errors import BudgetSpent, ProviderError, TransientError
from domain.snapshot import SubscriptionSnapshot
from models import reconcile_pass, scheduled_job, subscription, sync_queue
from models.reconcile_pass import PassLease
from providers.base import ListPage
from runtime.wiring import Runtime
from services.sync import list_comparison
from services.sync.backoff import backoff
from services.sync.list_comparison import PageComparison

log = logging.getLogger(__name__)

# Names of scheduled jobs.
_RECONCILE: Final = "reconcile"
_VERIFICATION: Final = "verify"

_VERIFICATION_PERIOD: Final = timedelta(minutes=1)
_FEWEST_VERIFIED: Final = 20
# Times the even pace: subscriptions may be verified from half of the period on, and a backlog must shrink.
_CATCHING_UP: Final = 4

# Pages are compared in batches, because the statement takes about as long for a thousand rows as for a
# hundred.
_MOST_PAGES: Final = 10
_LONGEST_BATCH_SECONDS: Final = 2.0
_MOST_REPEATED: Final = 2
# Longer than a batch and one slow page take, short enough that the pass of a killed process is soon
# continued.
_LEASE: Final = timedelta(seconds=12)
_LONGEST_FAILURE: Final = timedelta(hours=6)
# Shorter pauses between pages are not worth another wake-up.
_SHORTEST_PAUSE: Final = timedelta(seconds=1)
# How many syncs a pass requests at most for subscriptions that left the list. With the key of another
# business the list is nearly empty, and that must not request a sync of everything at once.
_MOST_VANISHED: Final = 1000


def reconcile(runtime: Runtime, *, until: float) -> None:
    """Do what is due: request verifications, begin a pass, and walk the list until the monotonic time
    `until`.
    """
    verify(runtime)
    begin(runtime)
    walk(runtime, until=until)


def is_due(runtime: Runtime) -> bool:
    """True if `reconcile` has anything to do."""
    with runtime.sessions() as session:
        return (
            scheduled_job.is_unclaimed(session, _VERIFICATION, _VERIFICATION_PERIOD)
            or scheduled_job.is_unclaimed(session, _RECONCILE, _period(runtime))
            or reconcile_pass.is_due(session, runtime.provider.name)
        )


def begin(runtime: Runtime, *, now: bool = False) -> None:
    """Begin a pass, at most one per period, unless one is running.

    With `now`, begin it whatever the period, and let it run, or the running one continue, without pauses.
    """
    provider, period = runtime.provider.name, _period(runtime)
    with runtime.sessions.begin() as session:
        if now:
            if not reconcile_pass.begin(session, provider, spread_over=timedelta(0)):
                reconcile_pass.speed_up(session, provider)
        elif scheduled_job.start_if_due(session, _RECONCILE, period):
            reconcile_pass.begin(session, provider, spread_over=period / 2)


def walk(runtime: Runtime, *, until: float) -> None:
    """Continue the running pass page by page, until it pauses or ends, or the monotonic time `until`. Does
    nothing if another process holds its lease or its next page is not due yet.
    """
    with runtime.sessions.begin() as session:
        lease = reconcile_pass.lease(
            session, runtime.provider.name, lease=_LEASE, end_trusted_for=runtime.settings.verify_every
        )
    if lease is None:
        return
    try:
        _read_and_compare(runtime, lease, until)
    except BudgetSpent as error:
        _release(runtime, lease, delay=error.retry_after or 1.0, error=error.message)
    except ProviderError as error:
        _postpone(runtime, lease, error)


def verify(runtime: Runtime) -> None:
    """Once a minute, request syncs of the subscriptions that are due for one. Their number is such that every
    subscription is synced within `verify_every`.
    """
    verify_every = runtime.settings.verify_every
    with runtime.sessions.begin() as session:
        if not scheduled_job.start_if_due(session, _VERIFICATION, _VERIFICATION_PERIOD):
            return
        even_pace = subscription.approximate_count(session) * (_VERIFICATION_PERIOD / verify_every)
        limit = max(_FEWEST_VERIFIED, math.ceil(_CATCHING_UP * even_pace))
        due = sync_queue.due_for_verification(session, verify_every, limit=limit)
        sync_queue.raise_hints(session, due, routine=True)


def _period(runtime: Runtime) -> timedelta:
    return timedelta(seconds=runtime.settings.reconcile_seconds)


# Reading.


@dataclass(slots=True)
class _Batch:
    """Consecutive pages of the list, and the pass's position after them.

    `is_end`: the list ends here. `saw_the_end`: the provider said so; otherwise it is assumed because the
    last pass ended with the same subscription.
    """

    position: PassLease
    listed: list[SubscriptionSnapshot] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    pages: int = 0
    begun_at: float = field(default_factory=time.monotonic)
    is_end: bool = False
    saw_the_end: bool = False

    def add(self, page: ListPage) -> None:
        self.position = _position_after(self.position, page)
        self.pages += 1
        self.listed += page.subscriptions
        self.unreadable += page.unreadable
        self.saw_the_end = page.is_last
        self.is_end = page.is_last or self.position.is_at_the_known_end


def _read_and_compare(runtime: Runtime, lease: PassLease, until: float) -> None:
    """Continue with the pass's next page. A thread compares one batch while the next is read."""
    with ThreadPoolExecutor(1, "compare") as thread:
        comparing: Future[PassLease | None] = Future()
        comparing.set_result(lease)
        requested_at = lease.as_of
        saw_the_end = True  # also if the pages end with a full batch
        for batch in _batches(runtime, lease, until):
            compared = comparing.result()
            if compared is None:
                return
            comparing = thread.submit(_compare, runtime, compared, batch, requested_at)
            requested_at = compared.as_of  # the next batch is requested from now on
            if batch.is_end:
                saw_the_end = batch.saw_the_end
                break
            if compared.pause >= _SHORTEST_PAUSE or time.monotonic() >= until:
                _pause(runtime, comparing.result())
                return
        compared = comparing.result()
    _finish(runtime, compared, saw_the_end=saw_the_end)


def _batches(runtime: Runtime, lease: PassLease, until: float) -> Iterator[_Batch]:
    """The remaining pages: one by one if the pass pauses after each, otherwise in batches.

    Pages that were read before a failure are yielded before it is raised.
    """
    most = 1 if lease.pause >= _SHORTEST_PAUSE else _MOST_PAGES
    batch = _Batch(lease)
    try:
        for page in runtime.provider.pages(created_before=lease.started_at, first_page=lease.next_page):
            batch.add(page)
            batch_ends_at = min(until, batch.begun_at + _LONGEST_BATCH_SECONDS)
            if batch.is_end or batch.pages >= most or time.monotonic() >= batch_ends_at:
                yield batch
                if batch.is_end:
                    return
                batch = _Batch(batch.position)
    except ProviderError:
        if batch.pages:
            yield batch
        raise
    if batch.pages:
        batch.is_end = batch.saw_the_end = True
        yield batch


def _position_after(position: PassLease, page: ListPage) -> PassLease:
    """A page may end like the one before it if rows have shifted. More than two such pages in a row mean that
    the provider repeats itself, and the walk would never end.
    """
    after = position.past(page.subscriptions)
    if after.repeated > _MOST_REPEATED:
        raise TransientError("The provider returned the same page of subscriptions several times in a row.")
    return after


# Writing. Each step writes only while the lease is ours.


def _compare(
    runtime: Runtime, lease: PassLease, batch: _Batch, requested_after: datetime
) -> PassLease | None:
    """Compare the batch, whose pages were requested after that database time, and advance the pass.

    Returns the lease at its new position; None if another process has taken it over, and nothing was written.
    """
    ids = [*(listed.subscription_id for listed in batch.listed), *batch.unreadable]
    with runtime.sessions.begin() as session:
        advanced = reconcile_pass.advance(session, lease, batch.position, ids, lease=_LEASE)
        if advanced is None:
            return None
        compared = list_comparison.compare(
            session,
            batch.listed,
            unreadable=batch.unreadable,
            as_of=requested_after,
            expect_all_known=not lease.is_first,
            trusted_for=runtime.settings.verify_every,
        )
        if compared != PageComparison():
            reconcile_pass.add_differences(
                session, advanced, unheard_of=compared.unheard_of, differing=compared.differing
            )
    return advanced


def _pause(runtime: Runtime, lease: PassLease | None) -> None:
    if lease is not None:
        with runtime.sessions.begin() as session:
            reconcile_pass.pause(session, lease)


def _finish(runtime: Runtime, lease: PassLease | None, *, saw_the_end: bool) -> None:
    if lease is None:
        return
    with runtime.sessions.begin() as session:
        vanished = reconcile_pass.finish(
            session, lease, saw_the_end=saw_the_end, most_vanished=_MOST_VANISHED
        )
        if vanished is None:
            return
        sync_queue.raise_hints(session, vanished, routine=True)
        completed = reconcile_pass.newest(session, runtime.provider.name)
    assert completed is not None
    log.info(
        "reconcile pass completed",
        extra={
            "pages": completed.next_page,
            "listed": completed.listed,
            "unheard_of": completed.unheard_of,
            "differing": completed.differing,
            "vanished": completed.vanished,
        },
    )


def _postpone(runtime: Runtime, lease: PassLease, error: ProviderError) -> None:
    """Retry with backoff. A pass that has failed for hours is given up, so that a page that always fails
    cannot keep the rest of the list from being read.
    """
    with runtime.sessions.begin() as session:
        if reconcile_pass.give_up(session, lease, older_than=max(_period(runtime), _LONGEST_FAILURE)):
            log.error("reconcile pass given up", extra={"error": error.message})
            return
    retry_after = error.retry_after if isinstance(error, TransientError) else None
    seconds = max(backoff(lease.failures + 1), retry_after or 0)
    log.warning("reconcile pass postponed", extra={"error": error.message, "seconds": round(seconds)})
    _release(runtime, lease, delay=seconds, error=error.message, failed=True)


def _release(runtime: Runtime, lease: PassLease, *, delay: float, error: str, failed: bool = False) -> None:
    with runtime.sessions.begin() as session:
        reconcile_pass.release(session, lease, delay=timedelta(seconds=delay), error=error, failed=failed)
