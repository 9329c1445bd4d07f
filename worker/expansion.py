"""Expansion: buy what claims wait for, one purchase for all who wait, and tell those for whom it failed.

Safe to be killed anywhere and to be done twice: what is bought is a seat change, which is sent once, and
who waits is seated in the transaction that takes over the look which shows the seats (`models.waiting`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from models import assignment, expansion, ledger, seat_change, waiting
from models.audit import Cause
from models.book import Book, open_book
from models.expansion import Present
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from seats.errors import (
    ChangeInFlight,
    ChangeRefused,
    Contended,
    PreviewExpired,
    SeatSyncError,
    SubscriptionChanged,
    TransientError,
)
from seats.expansion import REST, beyond_the_day
from seats.plan import When
from worker import seat_change as changes
from worker.backoff import backoff
from worker.seat_preview import Wish, preview

log = logging.getLogger(__name__)

PATIENCE: Final = 8.0
"""Seconds that a caller waits for a purchase."""

_MOST_AT_ONCE: Final = 50
# Longer than a buyer can take; one that was killed is missed for so long at most.
_LEASE: Final = timedelta(minutes=1)
# Claims of one moment are one purchase.
_LINGER: Final = 0.2
_GLANCE: Final = 0.05
_SOON: Final = timedelta(seconds=2)
_ROUNDS: Final = 3
_CAUSE: Final = Cause(actor="system:auto_expand", source="purchase", reason="somebody waits for a seat")


def wait(runtime: Runtime, account_id: str, member_ids: Sequence[str]) -> None:
    """Wait until none of these members waits for a seat any more, but not for long; buy meanwhile if nobody
    else does.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with runtime.sessions() as session:
            if not {one.member_id for one in assignment.waiting(session, account_id)}.intersection(
                member_ids
            ):
                return
        if not expand(runtime, account_id):
            time.sleep(_GLANCE)


def expand_due(runtime: Runtime, *, until: float) -> None:
    """Buy wherever somebody waits, until the monotonic clock reaches `until`."""
    with runtime.sessions() as session:
        due = expansion.due(session, limit=_MOST_AT_ONCE)
    for account_id in due:
        if time.monotonic() >= until:
            return
        expand(runtime, account_id)


def expand(runtime: Runtime, account_id: str) -> bool:
    """Buy what the account's claims wait for, if it is time and no other buyer is there; whether it was.

    Whatever goes wrong, the claims stay held and a buyer comes again.
    """
    with runtime.sessions.begin() as session:
        attempt = expansion.take(session, account_id, _LEASE)
    if attempt is None:
        return False
    again = timedelta(seconds=backoff(attempt))
    try:
        time.sleep(_LINGER)
        again = _expand(runtime, account_id, attempt)
    except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
        failed = {"account_id": account_id, "error": type(error).__name__}
        log.error("no seats bought", extra=failed)  # noqa: TRY400
    with runtime.sessions.begin() as session:
        expansion.hand_back(session, account_id, again)
    return True


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is wanted, the assignments that wait for it, and how the newest purchase stands."""

    demand: Mapping[str, int]
    queue: Collection[int]
    newest: SeatChange | None
    now: datetime

    @property
    def is_under_way(self) -> bool:
        return self.newest is not None and self.newest.state == ChangeState.SUBMITTED

    @property
    def rest(self) -> timedelta:
        """How long nothing more is bought, after a purchase that failed."""
        if self.newest is None or not self.newest.came_to_nothing:
            return timedelta()
        return max(self.newest.moved_at + REST - self.now, timedelta())


def _expand(runtime: Runtime, account_id: str, attempt: int) -> timedelta:
    """Do what can be done now; after what time to come again."""
    later = max(_SOON, timedelta(seconds=backoff(attempt)))
    for number in range(_ROUNDS):
        standing = _stand(runtime, account_id)
        if not standing.demand:
            return _SOON
        if standing.rest:
            return standing.rest
        if standing.is_under_way and standing.newest is not None:
            if number:
                return later
            changes.settle(runtime, standing.newest.id)
        elif not _buy(runtime, account_id, standing):
            return later
    return later


def _stand(runtime: Runtime, account_id: str) -> _Standing:
    """Seat those for whom there is a seat, refuse those whose purchase failed; what is left to do."""
    with runtime.transaction() as session:
        ledger.reevaluate(session, account_id, runtime.catalog, _CAUSE)
        book = open_book(session, account_id)
        newest = seat_change.newest_automatic(session, account_id)
        queue = assignment.waiting(session, account_id)
        if newest is not None and newest.came_to_nothing and newest.sent_at is not None:
            missed = {one.id for one in queue if one.claimed_at <= newest.sent_at}
            _refuse(session, book, missed, newest.message or "The purchase failed.")
            queue = [one for one in queue if one.id not in missed]
        if not queue:
            expansion.done(session, account_id)
        return _Standing(waiting.demand(book), {one.id for one in queue}, newest, book.now)


def _buy(runtime: Runtime, account_id: str, standing: _Standing) -> bool:
    """Send one purchase; False if it is better tried later. Where nothing can be bought, who waits for it
    is told so.
    """
    try:
        previewed = preview(
            runtime, account_id, Wish(seats=standing.demand, when=When.NOW, is_automatic=True)
        )
        reason = _beyond_the_day(runtime, previewed.change)
        if reason is None:
            changes.confirm(runtime, account_id, previewed.token, actor=_CAUSE.actor)
    except SeatSyncError as error:
        if _is_for_now(error):
            log.info("seats are bought later", extra={"account_id": account_id, "reason": error.code})
            return False
        reason = error.message
    if reason is not None:
        with runtime.transaction() as session:
            ledger.reevaluate(session, account_id, runtime.catalog, _CAUSE)
            _refuse(session, open_book(session, account_id), standing.queue, reason)
    return True


def _is_for_now(error: Exception) -> bool:
    """Whether the same purchase may succeed a little later without anybody doing anything."""
    if isinstance(error, ChangeRefused):
        return error.retry_helps
    passing = (SubscriptionChanged, ChangeInFlight, PreviewExpired, Contended, TransientError)
    return isinstance(error, passing)


def _beyond_the_day(runtime: Runtime, change: SeatChange) -> str | None:
    """Why what would be bought is too much, as where seats are sold in packs only."""
    with runtime.transaction() as session:
        book = open_book(session, change.account_id)
        present = Present(book.account_id, book.balances, book.override, book.now)
        purse = expansion.purse_of(session, present, runtime.catalog)
    bought = sum(step["after"] - step["before"] for step in change.seats.values())
    if purse.today + bought <= purse.per_day:
        return None
    return f"The next number that is sold is {bought} seats more. {beyond_the_day(purse)}"


def _refuse(session: Session, book: Book, queue: Collection[int], reason: str) -> None:
    """Refuse those of the queue who still wait."""
    people = [one for one in assignment.waiting(session, book.account_id) if one.id in queue]
    waiting.refuse(session, book, people, f"No seat could be bought. {reason}")
