"""Reconcile: find what no webhook told us. It only asks for looks, so the sync's fence guards every write.

Two gears: the provider's list gives most changes cheaply; and each subscription is retrieved at least
once per `verify_every`, oldest first, because the list does not show add-ons. Both are spread over their
periods, and neither keeps anything in memory: whoever comes next goes on from the rows.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.errors import BudgetSpent, ProviderError, TransientError
from domain.snapshot import SubscriptionSnapshot
from models import reconcile_pass, scheduled_job, subscription, sync_queue
from models.reconcile_pass import PassLease
from providers.base import ListPage
from runtime.wiring import Runtime
from services.sync import list_comparison
from services.sync.backoff import backoff
from services.sync.list_comparison import PageComparison

log = logging.getLogger(__name__)

_LIST: Final = "reconcile"
_TURN: Final = "verify"
_EVERY_TURN: Final = timedelta(minutes=1)
_FEWEST_A_TURN: Final = 20
_CATCHING_UP: Final = 4  # times an even pace: shares of the period begin at half of it, and a backlog goes

# Pages are compared together as they come: a statement costs as much for a thousand rows as for a hundred.
_MOST_PAGES: Final = 10
_LONGEST_BATCH: Final = 2.0
_MOST_REPEATED: Final = 2
# Longer than a batch and one slow page more can take, short enough that a killed walker's pass is taken up
# again soon.
_LEASE: Final = timedelta(seconds=12)
_LONGEST_FAILURE: Final = timedelta(hours=6)
_SHORTEST_PAUSE: Final = timedelta(seconds=1)
# So much may leave the list at once; a list that shows next to nothing is the answer to a wrong key, and
# the rest is verified in its turn anyway.
_MOST_VANISHED: Final = 1000


def reconcile(runtime: Runtime, *, until: float) -> None:
    """Do what is due of both gears, the list until the monotonic clock reaches `until`."""
    verify(runtime)
    begin(runtime)
    walk(runtime, until=until)


def is_due(runtime: Runtime) -> bool:
    """Whether `reconcile` would find anything to do."""
    with runtime.sessions() as session:
        return (
            scheduled_job.is_unclaimed(session, _TURN, _EVERY_TURN)
            or scheduled_job.is_unclaimed(session, _LIST, _period(runtime))
            or reconcile_pass.is_due(session, runtime.provider.name)
        )


def begin(runtime: Runtime, *, now: bool = False) -> None:
    """Begin a pass if it is time for one: once per period, whoever rings first.

    `now`: somebody waits; one that is under way goes on without pauses.
    """
    provider, period = runtime.provider.name, _period(runtime)
    with runtime.sessions.begin() as session:
        if now:
            if not reconcile_pass.begin(session, provider, spread_over=timedelta(0)):
                reconcile_pass.speed_up(session, provider)
        elif scheduled_job.claim_run(session, _LIST, period):
            reconcile_pass.begin(session, provider, spread_over=period / 2)


def walk(runtime: Runtime, *, until: float) -> None:
    """Go on with the pass that is under way, page by page, while it is ours, due, and time is left."""
    with runtime.sessions.begin() as session:
        mine = reconcile_pass.lease(
            session, runtime.provider.name, lease=_LEASE, end_trusted_for=runtime.settings.verify_every
        )
    if mine is None:
        return
    try:
        _read_on(runtime, mine, until)
    except BudgetSpent as spent:
        _let_go(runtime, mine, delay=spent.retry_after or 1.0, error=spent.message)
    except ProviderError as error:
        _fail(runtime, mine, error)


def _fail(runtime: Runtime, mine: PassLease, error: ProviderError) -> None:
    """Try again later and later; after hours, begin anew rather than go on with the same page for ever."""
    with runtime.sessions.begin() as session:
        if reconcile_pass.give_up(session, mine, older_than=max(_period(runtime), _LONGEST_FAILURE)):
            log.error("reconcile gave a pass up", extra={"error": error.message})
            return
    asked_for = error.retry_after if isinstance(error, TransientError) else None
    wait = max(backoff(mine.failures + 1), asked_for or 0)
    log.warning("reconcile waits", extra={"error": error.message, "seconds": round(wait)})
    _let_go(runtime, mine, delay=wait, error=error.message, failed=True)


def _read_on(runtime: Runtime, mine: PassLease, until: float) -> None:
    """From the page the pass is at to its end, or to where it pauses. While some pages are compared, the next
    are read.
    """
    with ThreadPoolExecutor(1, "compare") as aside:
        saw_the_end, asked_after = True, mine.as_of
        compared: Future[PassLease | None] | None = None
        for batch in _batches(runtime, mine, until):
            still_mine = mine if compared is None else compared.result()
            if still_mine is None:
                return
            mine = still_mine
            compared = aside.submit(_compare, runtime, mine, batch, asked_after)
            asked_after = mine.as_of  # and the next pages are asked for from here on
            if batch.is_end:
                saw_the_end = batch.saw_the_end
                break
            if mine.pause >= _SHORTEST_PAUSE or time.monotonic() >= until:
                _pause(runtime, compared.result())
                return
        last = mine if compared is None else compared.result()
    if last is not None:
        _finish(runtime, last, saw_the_end=saw_the_end)


def _pause(runtime: Runtime, mine: PassLease | None) -> None:
    if mine is not None:
        with runtime.sessions.begin() as session:
            reconcile_pass.pause(session, mine)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some pages, and the walk after them. The end was seen, or is where it lately was."""

    listed: Sequence[SubscriptionSnapshot]
    unreadable: Sequence[str]
    after: PassLease
    is_end: bool
    saw_the_end: bool


def _batches(runtime: Runtime, walk: PassLease, until: float) -> Iterator[_Batch]:
    """The pages that are left, as many at a time as come in quickly; what was read before a failure comes
    before the failure.
    """
    most = 1 if walk.pause >= _SHORTEST_PAUSE else _MOST_PAGES
    listed: list[SubscriptionSnapshot] = []
    unreadable: list[str] = []
    pages, begun = 0, time.monotonic()
    try:
        for page in runtime.provider.pages(created_before=walk.started_at, first_page=walk.next_page):
            walk, pages = _past(walk, page), pages + 1
            listed, unreadable = [*listed, *page.subscriptions], [*unreadable, *page.unreadable]
            is_end = page.is_last or walk.is_at_the_known_end
            if is_end or pages >= most or time.monotonic() >= min(until, begun + _LONGEST_BATCH):
                yield _Batch(listed, unreadable, walk, is_end, saw_the_end=page.is_last)
                listed, unreadable, pages, begun = [], [], 0, time.monotonic()
                if is_end:
                    return
    except ProviderError:
        if pages:
            yield _Batch(listed, unreadable, walk, is_end=False, saw_the_end=False)
        raise
    if pages:
        yield _Batch(listed, unreadable, walk, is_end=True, saw_the_end=True)


def _past(walk: PassLease, page: ListPage) -> PassLease:
    """The walk after the page. One that ends like the one before may have been shifted by as much as it
    holds; with many such in a row the walk would never end.
    """
    after = walk.past(page.subscriptions)
    if after.repeated > _MOST_REPEATED:
        raise TransientError("The provider gives the same page of subscriptions again and again.")
    return after


def _compare(runtime: Runtime, mine: PassLease, batch: _Batch, asked_after: datetime) -> PassLease | None:
    """How the pass goes on; None, and nothing written, if it is somebody else's by now. The pages were
    `asked_after` that moment.
    """
    names = [*(listed.subscription_id for listed in batch.listed), *batch.unreadable]
    with runtime.sessions.begin() as session:
        still_mine = reconcile_pass.advance(session, mine, batch.after, names, lease=_LEASE)
        if still_mine is None:
            return None
        found = list_comparison.compare(
            session,
            batch.listed,
            unreadable=batch.unreadable,
            as_of=asked_after,
            expect_all_known=not mine.is_first,
            trusted_for=runtime.settings.verify_every,
        )
        if found != PageComparison():
            reconcile_pass.add_differences(
                session, still_mine, unheard_of=found.unheard_of, differing=found.differing
            )
    return still_mine


def _finish(runtime: Runtime, mine: PassLease, *, saw_the_end: bool) -> None:
    with runtime.sessions.begin() as session:
        gone = reconcile_pass.finish(session, mine, saw_the_end=saw_the_end, most_vanished=_MOST_VANISHED)
        if gone is None:
            return
        sync_queue.raise_hints(session, gone, routine=True)
        done = reconcile_pass.newest(session, runtime.provider.name)
    assert done is not None
    log.info(
        "reconciled",
        extra={
            "pages": done.next_page,
            "listed": done.listed,
            "unheard_of": done.unheard_of,
            "differing": done.differing,
            "vanished": done.vanished,
        },
    )


def _let_go(runtime: Runtime, mine: PassLease, *, delay: float, error: str, failed: bool = False) -> None:
    with runtime.sessions.begin() as session:
        reconcile_pass.release(session, mine, delay=timedelta(seconds=delay), error=error, failed=failed)


def verify(runtime: Runtime) -> None:
    """Ask for a look at those whose turn it is, every minute as many as keep all of them in time."""
    verify_every = runtime.settings.verify_every
    with runtime.sessions.begin() as session:
        if not scheduled_job.claim_run(session, _TURN, _EVERY_TURN):
            return
        even_pace = subscription.count(session) * (_EVERY_TURN / verify_every)
        limit = max(_FEWEST_A_TURN, math.ceil(_CATCHING_UP * even_pace))
        oldest = sync_queue.due_for_verification(session, verify_every, limit=limit)
        sync_queue.raise_hints(session, oldest, routine=True)


def _period(runtime: Runtime) -> timedelta:
    return timedelta(seconds=runtime.settings.reconcile_seconds)
