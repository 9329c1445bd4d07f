"""Automatic purchases: buy seats for the pending claims of an account, and refuse the claims if that fails.

Safe to interrupt and to repeat. A purchase is a seat change, which is sent once. The claims get their seats
in the transaction that stores the snapshot which shows them, see `services.ledger.pending_claims`.
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
    Contended,
    NoSeatAvailable,
    PreviewExpired,
    SeatSyncError,
    SubscriptionChanged,
)
from domain.provider_errors import ChangeRefused, TransientError
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

PURCHASE_TIMEOUT: Final = 8.0
"""The longest that a caller waits for a purchase, in seconds."""

_MOST_AT_ONCE: Final = 50
# Longer than a purchase takes, short enough that the purchase of a killed process is soon continued.
_LEASE: Final = timedelta(minutes=1)
# Claims that arrive within this time share a purchase.
_COLLECT_SECONDS: Final = 0.2
_SHORTEST_RETRY: Final = timedelta(seconds=2)
_CAUSE: Final = Cause(actor="system:auto_expand", source="purchase", reason="claims wait for seats")


def wait_for_seats(runtime: Runtime, account_id: str, assignment_ids: Collection[int]) -> None:
    """Wait until none of these assignments waits for a purchase any more, at most `PURCHASE_TIMEOUT` seconds.

    Buys in this process, unless another one buys for the account.
    """
    until, pauses = time.monotonic() + PURCHASE_TIMEOUT, growing_pauses()
    while time.monotonic() < until:
        with runtime.sessions() as session:
            if not _ids(assignment.awaiting_purchase(session, account_id)).intersection(assignment_ids):
                return
        if not expand(runtime, account_id):
            time.sleep(next(pauses))


def expand_due(runtime: Runtime, *, until: float) -> None:
    """Buy for all accounts with pending claims that are due, until the monotonic time `until`."""
    with runtime.sessions() as session:
        due = purchase_queue.due_accounts(session, limit=_MOST_AT_ONCE)
    for account_id in due:
        if time.monotonic() >= until:
            return
        expand(runtime, account_id)


def expand(runtime: Runtime, account_id: str) -> bool:
    """Try to buy seats for the account's pending claims. False if another process does so, if the next
    attempt is not due yet, or if a newer catalogue or release is in force.

    After any error the claims stay pending, and the purchase is retried.
    """
    with runtime.sessions.begin() as session:
        if generation.state_of(session, runtime.catalog).was_replaced:
            return False
        lease = purchase_queue.lease(session, account_id, _LEASE)
    if lease is None:
        return False
    retry_after = timedelta(seconds=backoff(lease.attempt))
    try:
        time.sleep(_COLLECT_SECONDS)
        retry_after = _expand(runtime, lease)
    except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
        failed = {"account_id": account_id, "error": type(error).__name__}
        log.error("auto-expand failed", extra=failed)  # noqa: TRY400
    with runtime.sessions.begin() as session:
        purchase_queue.release(session, lease, retry_after)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """What an account needs. `demand` and `at_most` are totals of purchased seats per type, wanted and
    allowed. `queue` maps the pending assignments to their seat types. `under_way` is the id of a purchase
    whose outcome is open. Nothing is bought during `rest`.
    """

    demand: Mapping[str, int]
    at_most: Mapping[str, int]
    queue: Mapping[int, str | None]
    under_way: str | None
    rest: timedelta

    def of(self, seat_type: str) -> _Needs:
        """The needs of one seat type."""
        queue = {assignment_id: kind for assignment_id, kind in self.queue.items() if kind == seat_type}
        return replace(self, demand={seat_type: self.demand[seat_type]}, queue=queue)


def _expand(runtime: Runtime, lease: PurchaseLease) -> timedelta:
    """Run one purchase attempt; return the delay until the next."""
    later = max(_SHORTEST_RETRY, timedelta(seconds=backoff(lease.attempt)))
    for is_first_round in (True, False, False):
        needs = _settle_claims(runtime, lease.account_id)
        if needs.rest:
            return needs.rest
        if needs.under_way is not None:
            if not is_first_round:
                return later
            changes.settle(runtime, needs.under_way)
        elif not needs.demand or not _buy(runtime, lease.account_id, needs):
            return later
    return later


def _settle_claims(runtime: Runtime, account_id: str) -> _Needs:
    """Grant the pending claims for which there are seats by now, refuse those whose purchase failed, and
    return what the others need.
    """
    with runtime.transaction() as session, changing(session, account_id) as account:
        accounts.reevaluate_locked(account, runtime.catalog, _CAUSE)
        pending = assignment.awaiting_purchase(session, account_id)
        newest = automatic_purchases.newest(session, account_id)
        if newest is not None and automatic_purchases.blocks_retry(session, newest):
            reason = newest.message or "The purchase failed."
            _refuse(account, _still_pending(pending, newest.buys_for), reason)
        failures = purchase_limits.failures_of(session, account_id)
        if len(failures) >= STOP_AFTER:
            _refuse(account, _still_pending(pending), stopped_message(len(failures)))
        paused_until = purchase_limits.paused_until(session, account_id, failures)
        queue = {person.id: person.seat_type for person in _still_pending(pending)}
        if not queue:
            purchase_queue.remove(session, account_id)
        demand = pending_claims.wanted_seats(account)
        return _Needs(
            demand=demand,
            at_most=_at_most(runtime, account, demand),
            queue=queue,
            under_way=newest.id if newest is not None and _is_under_way(session, newest) else None,
            rest=max(paused_until - account.now, timedelta()) if paused_until and queue else timedelta(),
        )


def _at_most(runtime: Runtime, account: LockedAccount, demand: Mapping[str, int]) -> Mapping[str, int]:
    """The total of seats per type that the daily limit allows. It may be more than `demand`, because a pack
    may be cheaper than fewer single seats.
    """
    if not demand:
        return {}
    budget = purchase_limits.daily_budget(account.session, AccountView.of(account), runtime.catalog, demand)
    needed = sum(
        overage(account.balance_of(seat_type).purchased, number) for seat_type, number in demand.items()
    )
    spare = max(budget.per_day - budget.today - needed, 0)
    return {seat_type: number + spare for seat_type, number in demand.items()}


def _is_under_way(session: Session, change: SeatChange) -> bool:
    """True if the purchase may still bring the account its seats."""
    owner = session.get_one(Subscription, change.subscription_id).account_id
    return change.state == ChangeState.SUBMITTED and owner == change.account_id


def _buy(runtime: Runtime, account_id: str, needs: _Needs) -> bool:
    """Send one purchase; False if it should be retried later. Claims for which no seat can be bought are
    refused.
    """
    at_most = {seat_type: needs.at_most[seat_type] for seat_type in needs.demand}
    request = SeatRequest(seats=needs.demand, at_most=at_most, when=When.NOW, is_automatic=True)
    check = partial(_check, runtime, needs)
    try:
        previewed = preview(runtime, account_id, request)
        confirm.confirm(runtime, account_id, previewed.token, actor=_CAUSE.actor, check=check)
    except SeatSyncError as error:
        if _is_temporary(error):
            log.info("purchase postponed", extra={"account_id": account_id, "reason": error.code})
            return False
        if len(needs.demand) > 1:  # the obstacle may concern one seat type only, so buy each by itself
            bought = [_buy(runtime, account_id, needs.of(seat_type)) for seat_type in needs.demand]
            return all(bought)
        with runtime.transaction() as session, changing(session, account_id) as account:
            accounts.reevaluate_locked(account, runtime.catalog, _CAUSE)
            pending = assignment.awaiting_purchase(session, account_id)
            _refuse(account, _still_pending(pending, needs.queue), error.message)
    return True


def _check(runtime: Runtime, needs: _Needs, account: LockedAccount, change: SeatChange) -> None:
    """Raise if the purchase is more than the pending claims need by now, or more than may be bought today:
    the sync before the preview may have brought seats, and claims may have ended. Newer claims have to wait
    for the next purchase.
    """
    steps = steps_of(change)
    is_increase = all(step.is_more for step in steps.values())
    wanted = pending_claims.wanted_seats(account)
    if not is_increase or any(wanted.get(name, 0) < number for name, number in needs.demand.items()):
        raise SubscriptionChanged("The pending claims or the seats have changed since the preview.")
    budget = purchase_limits.daily_budget(account.session, AccountView.of(account), runtime.catalog, steps)
    if budget.today + change.added_seats > budget.per_day:
        raise NoSeatAvailable(
            f"{change.added_seats} seats would have to be bought at once. {daily_limit_message(budget)}"
        )
    change.buys_for = sorted(
        _ids(assignment.awaiting_purchase(account.session, account.account_id)) & set(needs.queue)
    )


def _is_temporary(error: SeatSyncError) -> bool:
    """True if the same purchase may succeed later without anybody's action."""
    if isinstance(error, ChangeRefused):
        return error.retry_helps
    temporary = (SubscriptionChanged, ChangeInFlight, PreviewExpired, Contended, TransientError)
    return isinstance(error, temporary)


def _refuse(account: LockedAccount, people: Sequence[Assignment], reason: str) -> None:
    pending_claims.refuse(account, people, f"No seat could be bought. {reason}")


def _still_pending(pending: Sequence[Assignment], ids: Collection[int] | None = None) -> Sequence[Assignment]:
    """Those of the pending claims that were neither granted nor refused since; with `ids`, only these."""
    return [one for one in pending if one.awaits is not None and (ids is None or one.id in ids)]


def _ids(queue: Sequence[Assignment]) -> set[int]:
    return {person.id for person in queue}
