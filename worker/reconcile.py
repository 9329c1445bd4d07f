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
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from models import listing, reconcile_pass, schedule, subscription, tick
from models.listing import Compared
from models.reconcile_pass import Walk
from runtime.wiring import Runtime
from seats.errors import BudgetSpent, ProviderError, TransientError
from seats.snapshot import SubscriptionSnapshot
from worker.backoff import backoff

log = logging.getLogger(__name__)

_LIST: Final = "reconcile"
_TURN: Final = "verify"
_EVERY_TURN: Final = timedelta(minutes=1)
_FEWEST_A_TURN: Final = 20
_CATCHING_UP: Final = 4  # times an even pace: shares of the period begin at half of it, and a backlog goes

# Pages are compared together as they come: a statement costs as much for a thousand rows as for a hundred.
_MOST_PAGES: Final = 10
_LONGEST_BATCH: Final = 2.0
# Longer than a batch and one slow page more can take, short enough that a killed walker's pass is taken up
# again soon.
_LEASE: Final = timedelta(seconds=12)
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
            tick.is_free(session, _TURN, _EVERY_TURN)
            or tick.is_free(session, _LIST, _period(runtime))
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
                reconcile_pass.hurry(session, provider)
        elif tick.take(session, _LIST, period):
            reconcile_pass.begin(session, provider, spread_over=period / 2)


def walk(runtime: Runtime, *, until: float) -> None:
    """Go on with the pass that is under way, page by page, while it is ours, due, and time is left."""
    with runtime.sessions.begin() as session:
        mine = reconcile_pass.take(
            session, runtime.provider.name, lease=_LEASE, end_trusted_for=runtime.settings.verify_every
        )
    if mine is None:
        return
    try:
        _read_on(runtime, mine, until)
    except BudgetSpent as spent:
        _let_go(runtime, mine, delay=spent.retry_after or 1.0, error=spent.message)
    except ProviderError as error:
        asked_for = error.retry_after if isinstance(error, TransientError) else None
        wait = max(backoff(mine.failures + 1), asked_for or 0)
        log.warning("reconcile waits", extra={"error": error.message, "seconds": round(wait)})
        _let_go(runtime, mine, delay=wait, error=error.message, failed=True)


def _read_on(runtime: Runtime, mine: Walk, until: float) -> None:
    """From the page the pass is at to its end, or to where it pauses."""
    for batch in _batches(runtime, mine, until):
        if not _compare(runtime, mine, batch):
            return
        mine = batch.after
        if batch.is_end:
            break
        if mine.spacing >= _SHORTEST_PAUSE or time.monotonic() >= until:
            _let_go(runtime, mine, delay=mine.spacing.total_seconds())
            return
    _finish(runtime, mine, saw_the_end=not mine.is_at_the_known_end)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some pages, and the walk after them."""

    listed: Sequence[SubscriptionSnapshot]
    after: Walk
    is_end: bool


def _batches(runtime: Runtime, walk: Walk, until: float) -> Iterator[_Batch]:
    """The pages that are left, as many at a time as come in quickly; what was read before a failure comes
    before the failure.
    """
    most = 1 if walk.spacing >= _SHORTEST_PAUSE else _MOST_PAGES
    listed: list[SubscriptionSnapshot] = []
    pages, begun = 0, time.monotonic()
    try:
        for page in runtime.provider.pages(created_before=walk.started_at, first_page=walk.next_page):
            walk, pages = walk.past(page.subscriptions), pages + 1
            listed += page.subscriptions
            is_end = page.is_last or walk.is_at_the_known_end
            if is_end or pages >= most or time.monotonic() >= min(until, begun + _LONGEST_BATCH):
                yield _Batch(listed, walk, is_end)
                listed, pages, begun = [], 0, time.monotonic()
                if is_end:
                    return
    except ProviderError:
        if pages:
            yield _Batch(listed, walk, is_end=False)
        raise
    if pages:
        yield _Batch(listed, walk, is_end=True)


def _compare(runtime: Runtime, mine: Walk, batch: _Batch) -> bool:
    """False, and nothing written, if the pass is somebody else's by now."""
    with runtime.sessions.begin() as session:
        names = [listed.subscription_id for listed in batch.listed]
        if not reconcile_pass.turn_pages(session, mine, batch.after, names, lease=_LEASE):
            return False
        found = listing.compare(
            session,
            batch.listed,
            trusted_for=runtime.settings.verify_every,
            expect_all_known=not mine.is_first,
        )
        if found != Compared():
            reconcile_pass.count(session, mine, unheard_of=found.unheard_of, differing=found.differing)
    return True


def _finish(runtime: Runtime, mine: Walk, *, saw_the_end: bool) -> None:
    with runtime.sessions.begin() as session:
        gone = reconcile_pass.vanished(session, mine, limit=_MOST_VANISHED)
        if not reconcile_pass.finish(session, mine, vanished=len(gone), saw_the_end=saw_the_end):
            return
        schedule.raise_hints(session, gone, routine=True)
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


def _let_go(
    runtime: Runtime, mine: Walk, *, delay: float, error: str | None = None, failed: bool = False
) -> None:
    with runtime.sessions.begin() as session:
        reconcile_pass.hand_back(session, mine, delay=timedelta(seconds=delay), error=error, failed=failed)


def verify(runtime: Runtime) -> None:
    """Ask for a look at those whose turn it is, every minute as many as keep all of them in time."""
    verify_every = runtime.settings.verify_every
    with runtime.sessions.begin() as session:
        if not tick.take(session, _TURN, _EVERY_TURN):
            return
        even_pace = subscription.count(session) * (_EVERY_TURN / verify_every)
        limit = max(_FEWEST_A_TURN, math.ceil(_CATCHING_UP * even_pace))
        oldest = schedule.due_for_verification(session, verify_every, limit=limit)
        schedule.raise_hints(session, oldest, routine=True)


def _period(runtime: Runtime) -> timedelta:
    return timedelta(seconds=runtime.settings.reconcile_seconds)
