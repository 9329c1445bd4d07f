"""Expansion: buy what claims wait for, one purchase for all who wait, and tell those for whom it failed.

Safe to be killed anywhere and to be done twice: what is bought is a seat change, which is sent once, and
who waits is seated in the transaction that takes over the look which shows the seats
(`services.ledger.pending_claims`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy.orm import Session

from domain.billing_terms import When
from domain.errors import (
    ChangeInFlight,
    ChangeRefused,
    Contended,
    NoSeatAvailable,
    PreviewExpired,
    SeatSyncError,
    SubscriptionChanged,
    TransientError,
)
from domain.purchase.daily_limit import STOP_AFTER, daily_limit_message, stopped_message
from domain.seat_limit import overage
from models import assignment, automatic_purchases, generation, purchase_queue
from models.assignment import Assignment
from models.audit import Cause
from models.purchase_queue import PurchaseLease
from models.seat_change import ChangeState, SeatChange
from models.subscription import Subscription
from runtime.wiring import Runtime
from services.ledger import accounts, pending_claims, purchase_limits
from services.ledger.locked_account import LockedAccount, changing
from services.ledger.purchase_limits import AccountView
from services.ledger.sent_changes import steps_of
from services.purchases import confirm
from services.purchases import settle as changes
from services.purchases.preview import SeatRequest, preview
from services.sync.backoff import backoff, growing_pauses

log = logging.getLogger(__name__)

PATIENCE: Final = 8.0
"""Seconds that a caller waits for a purchase."""

_MOST_AT_ONCE: Final = 50
# Longer than a buyer can take; one that was killed is missed for so long at most.
_LEASE: Final = timedelta(minutes=1)
# Claims of one moment are one purchase.
_LINGER: Final = 0.2
_SOON: Final = timedelta(seconds=2)
_ROUNDS: Final = 3
_CAUSE: Final = Cause(actor="system:auto_expand", source="purchase", reason="somebody waits for a seat")


def wait_for_seats(runtime: Runtime, account_id: str, assignment_ids: Collection[int]) -> None:
    """Wait until none of these waits for a seat any more, for `PATIENCE` seconds at most. If no other
    process buys for the account meanwhile, buy.
    """
    until, pauses = time.monotonic() + PATIENCE, growing_pauses()
    while time.monotonic() < until:
        with runtime.sessions() as session:
            if not _ids(assignment.awaiting_purchase(session, account_id)).intersection(assignment_ids):
                return
        if not expand(runtime, account_id):
            time.sleep(next(pauses))


def expand_due(runtime: Runtime, *, until: float) -> None:
    """Buy wherever somebody waits, until the monotonic clock reaches `until`."""
    with runtime.sessions() as session:
        due = purchase_queue.due_accounts(session, limit=_MOST_AT_ONCE)
    for account_id in due:
        if time.monotonic() >= until:
            return
        expand(runtime, account_id)


def expand(runtime: Runtime, account_id: str) -> bool:
    """Buy what the account's claims wait for; False where another buyer is there, it is not time, or a newer
    generation does it.

    Whatever goes wrong, the claims stay held and a buyer comes again.
    """
    with runtime.sessions.begin() as session:
        if generation.state_of(session, runtime.catalog).was_replaced:
            return False
        visit = purchase_queue.lease(session, account_id, _LEASE)
    if visit is None:
        return False
    again = timedelta(seconds=backoff(visit.attempt))
    try:
        time.sleep(_LINGER)
        again = _expand(runtime, visit)
    except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
        failed = {"account_id": account_id, "error": type(error).__name__}
        log.error("no seats bought", extra=failed)  # noqa: TRY400
    with runtime.sessions.begin() as session:
        purchase_queue.release(session, visit, again)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What is to be bought, as seats in all and at most, the assignments that wait for it and their seat
    types, the purchase that is under way already, and for how long nothing is bought.
    """

    demand: Mapping[str, int]
    at_most: Mapping[str, int]
    queue: Mapping[int, str | None]
    under_way: str | None
    rest: timedelta

    def of(self, seat_type: str) -> _Standing:
        """What concerns one seat type."""
        queue = {one: theirs for one, theirs in self.queue.items() if theirs == seat_type}
        return replace(self, demand={seat_type: self.demand[seat_type]}, queue=queue)


def _expand(runtime: Runtime, visit: PurchaseLease) -> timedelta:
    """Do what can be done now; after what time to come again."""
    later = max(_SOON, timedelta(seconds=backoff(visit.attempt)))
    for is_first_round in (True, False, False):
        standing = _stand(runtime, visit.account_id)
        if standing.rest:
            return standing.rest
        if standing.under_way is not None:
            if not is_first_round:
                return later
            changes.settle(runtime, standing.under_way)
        elif not standing.demand or not _buy(runtime, visit.account_id, standing):
            return later
    return later


def _stand(runtime: Runtime, account_id: str) -> _Standing:
    """Seat those for whom there is a seat, refuse those whose purchase failed; what is left to do."""
    with runtime.transaction() as session, changing(session, account_id) as account:
        accounts.reevaluate_locked(account, runtime.catalog, _CAUSE)
        newest = automatic_purchases.newest(session, account_id)
        if newest is not None and automatic_purchases.blocks_retry(session, newest):
            _refuse(account, newest.buys_for, newest.message or "The purchase failed.")
        failures = purchase_limits.failures_of(session, account_id)
        if len(failures) >= STOP_AFTER:
            _refuse(
                account,
                _ids(assignment.awaiting_purchase(session, account_id)),
                stopped_message(len(failures)),
            )
        rests_until = purchase_limits.paused_until(session, account_id, failures)
        queue = {person.id: person.seat_type for person in assignment.awaiting_purchase(session, account_id)}
        if not queue:
            purchase_queue.remove(session, account_id)
        demand = pending_claims.wanted_seats(account)
        return _Standing(
            demand=demand,
            at_most=_at_most(runtime, account, demand),
            queue=queue,
            under_way=newest.id if newest is not None and _is_under_way(session, newest) else None,
            rest=max(rests_until - account.now, timedelta()) if rests_until and queue else timedelta(),
        )


def _at_most(runtime: Runtime, account: LockedAccount, demand: Mapping[str, int]) -> Mapping[str, int]:
    """The seats of each type in all that the day's limit allows: packs may cost less than fewer seats."""
    if not demand:
        return {}
    purse = purchase_limits.daily_budget(account.session, AccountView.of(account), runtime.catalog, demand)
    needed = sum(overage(account.of(seat_type).purchased, number) for seat_type, number in demand.items())
    spare = max(purse.per_day - purse.today - needed, 0)
    return {seat_type: number + spare for seat_type, number in demand.items()}


def _is_under_way(session: Session, change: SeatChange) -> bool:
    """Whether it may yet bring the account its seats."""
    home = session.get_one(Subscription, change.subscription_id).account_id
    return change.state == ChangeState.SUBMITTED and home == change.account_id


def _buy(runtime: Runtime, account_id: str, standing: _Standing) -> bool:
    """Send one purchase; False if it is better tried later. Where nothing can be bought, who waits for it
    is told so.
    """
    at_most = {seat_type: standing.at_most[seat_type] for seat_type in standing.demand}
    wish = SeatRequest(seats=standing.demand, at_most=at_most, when=When.NOW, is_automatic=True)
    check = partial(_check, runtime, standing)
    try:
        previewed = preview(runtime, account_id, wish)
        confirm.confirm(runtime, account_id, previewed.token, actor=_CAUSE.actor, check=check)
    except SeatSyncError as error:
        if _is_for_now(error):
            log.info("seats are bought later", extra={"account_id": account_id, "reason": error.code})
            return False
        if len(standing.demand) > 1:  # what stands in the way of one type is none of the others' business
            bought = [_buy(runtime, account_id, standing.of(seat_type)) for seat_type in standing.demand]
            return all(bought)
        with runtime.transaction() as session, changing(session, account_id) as account:
            accounts.reevaluate_locked(account, runtime.catalog, _CAUSE)
            _refuse(account, standing.queue, error.message)
    return True


def _check(runtime: Runtime, standing: _Standing, account: LockedAccount, change: SeatChange) -> None:
    """That all of the purchase is still waited for, and no more than may be bought today: the look before the
    preview may have brought seats, and people may have gone since. Who has come is bought for next.
    """
    steps = steps_of(change)
    is_more = all(step.difference > 0 for step in steps.values())
    wanted = pending_claims.wanted_seats(account)
    if not is_more or any(wanted.get(name, 0) < number for name, number in standing.demand.items()):
        raise SubscriptionChanged("Somebody has gone by now, or there are other seats.")
    purse = purchase_limits.daily_budget(account.session, AccountView.of(account), runtime.catalog, steps)
    if purse.today + change.added_seats > purse.per_day:
        raise NoSeatAvailable(
            f"{change.added_seats} seats would have to be bought at once. {daily_limit_message(purse)}"
        )
    change.buys_for = sorted(
        _ids(assignment.awaiting_purchase(account.session, account.account_id)) & set(standing.queue)
    )


def _is_for_now(error: SeatSyncError) -> bool:
    """Whether the same purchase may succeed a little later without anybody doing anything."""
    if isinstance(error, ChangeRefused):
        return error.retry_helps
    passing = (SubscriptionChanged, ChangeInFlight, PreviewExpired, Contended, TransientError)
    return isinstance(error, passing)


def _refuse(account: LockedAccount, assignment_ids: Collection[int], reason: str) -> None:
    """Refuse those of them who still wait."""
    queue = assignment.awaiting_purchase(account.session, account.account_id)
    people = [person for person in queue if person.id in assignment_ids]
    pending_claims.refuse(account, people, f"No seat could be bought. {reason}")


def _ids(queue: Sequence[Assignment]) -> set[int]:
    return {person.id for person in queue}
