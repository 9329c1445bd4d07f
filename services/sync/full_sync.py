"""A full sync: a pass over the provider's list, and the looks that it asks for, because somebody waits.

All that is asked for is rows. So the workers help, whoever stops it loses nothing, and started again it
waits for what is left. Nothing of it grows with the business but the time that it takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import account, reconcile_pass, sync_queue
from models.subscription import Subscription
from runtime.wiring import Runtime
from services.sync import progress as awaited
from services.sync import reconcile
from services.sync.subscription import SyncOutcome, sync

log = logging.getLogger(__name__)

_A_WHILE: Final = 1.0  # seconds until it says again how far it is
_BREATH: Final = 0.25  # seconds between two looks at what others do, or at who is to be waited for
_AT_ONCE: Final = 50
_SLICE: Final = 1000

# The next one would only hear the same.
_STOPS: Final = {
    SyncOutcome.BUDGET_SPENT,
    SyncOutcome.POSTPONED,
    SyncOutcome.KEY_REFUSED,
    SyncOutcome.OUTDATED,
}

_Slice = Callable[..., Sequence[str]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: so many `listed`, to the end of the list or not yet, and then so many looks `left`.

    `waits_for` is why nothing moves, where that is known.
    """

    listed: int
    is_listed: bool = False
    left: int = 0
    waits_for: str | None = None

    @property
    def is_done(self) -> bool:
        return self.is_listed and not self.left


@dataclass(slots=True)
class _Patience:
    """Ends when nothing has moved for so many seconds."""

    seconds: float
    until: float = 0.0

    def renew(self) -> None:
        self.until = time.monotonic() + self.seconds

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until


def full_sync(runtime: Runtime, *, everything: bool = False, patience: float) -> Iterator[Progress]:
    """Do it, saying about every second how far it is; the last word tells whether it is done.

    `everything`: look at every known subscription, not only where the list differs. It gives up after
    `patience` seconds in which the provider only failed; a spent request budget is waited out.
    """
    progress = Progress(listed=0)
    for progress in _read_the_list(runtime, _Patience(patience)):
        yield progress
    if not progress.is_listed:
        return
    if everything:
        _ask(runtime, awaited.all_known)
    _ask(runtime, awaited.stuck)
    with runtime.sessions.begin() as session:
        sync_queue.retry_failed_now(session, longer_than=timedelta(0))
    yield from _look(runtime, progress.listed, _Patience(patience))


def _read_the_list(runtime: Runtime, patience: _Patience) -> Iterator[Progress]:
    """A pass that begins after it was asked for: one under way may have read past what changed since, so
    that one is only brought to its end first.
    """
    with runtime.sessions() as session:
        asked_at = account.now(session)
    reconcile.begin(runtime, now=True)
    was_at = (0, 0)
    patience.renew()
    while True:
        reconcile.walk(runtime, until=time.monotonic() + _A_WHILE)
        with runtime.sessions() as session:
            done = awaited.finished_pass(session, runtime.provider.name, begun_since=asked_at)
            newest = reconcile_pass.newest(session, runtime.provider.name)
        assert newest is not None  # it was begun above
        if done is not None:
            yield Progress(done.listed, is_listed=True)
            return
        if newest.finished_at is not None:
            reconcile.begin(runtime, now=True)
            continue
        yield Progress(newest.listed, waits_for=newest.last_error)
        is_at = (newest.id, newest.next_page)
        if is_at != was_at or not newest.failures:
            patience.renew()
        elif patience.is_over:
            return
        if is_at == was_at:
            time.sleep(_BREATH)
        was_at = is_at


def _ask(runtime: Runtime, wanted: _Slice) -> None:
    """For a look at each of them; nobody who asked before waits longer for that."""
    after = ""
    while True:
        with runtime.sessions.begin() as session:
            found = wanted(session, after=after, limit=_SLICE)
            sync_queue.raise_hints(session, found, routine=True)
        if not found:
            return
        after = found[-1]


def _look(runtime: Runtime, listed: int, patience: _Patience) -> Iterator[Progress]:
    """Until nothing waits that has not been looked at from now on, whoever does the looking."""
    with runtime.sessions() as session:
        asked_at = account.now(session)
    fewest, outcome, reason = None, None, None
    patience.renew()
    while True:
        with runtime.sessions() as session:
            left = awaited.count_left(session, not_seen_since=asked_at)
        yield Progress(listed, is_listed=True, left=left, waits_for=reason)
        if not left:
            return
        has_moved = fewest is None or left < fewest
        if has_moved or outcome is SyncOutcome.BUDGET_SPENT:
            patience.renew()
        elif patience.is_over:
            return
        if not has_moved:
            time.sleep(_BREATH)
        fewest = left if fewest is None else min(left, fewest)
        if (ended := _work_a_while(runtime)) is not None:
            outcome, reason = ended


def _work_a_while(runtime: Runtime) -> tuple[SyncOutcome, str | None] | None:
    """Look at what is due until the provider has no answer for us.

    What the last look came to, and why it came to nothing if it did; None if nothing was due.
    """
    until = time.monotonic() + _A_WHILE
    with runtime.sessions.begin() as session:
        due = sync_queue.claim_due(session, limit=_AT_ONCE, routine_limit=_AT_ONCE, again=timedelta(0))
    ended = None
    for subscription_id in due.all:
        outcome = _looked_at(runtime, subscription_id)
        ended = outcome, None
        if outcome in _STOPS:
            with runtime.sessions() as session:
                return outcome, _reason(session, subscription_id, outcome)
        if time.monotonic() >= until:
            break
    return ended


def _looked_at(runtime: Runtime, subscription_id: str) -> SyncOutcome:
    """What fails here, as at an account that somebody holds, stays due and stops no other."""
    try:
        return sync(runtime, subscription_id)
    except SQLAlchemyError as error:  # its text may hold personal data
        log.warning("look failed", extra={"subscription_id": subscription_id, "error": type(error).__name__})
        return SyncOutcome.NOTHING_DUE


def _reason(session: Session, subscription_id: str, outcome: SyncOutcome) -> str | None:
    if outcome is SyncOutcome.BUDGET_SPENT:
        return "The request budget is spent for now."
    if outcome is SyncOutcome.OUTDATED:
        return (
            "A newer catalogue or release is in force, and its processes do the rest. Use that one, or bring "
            "this one back into force with `seatsync migrate`."
        )
    return session.get_one(Subscription, subscription_id).last_error
