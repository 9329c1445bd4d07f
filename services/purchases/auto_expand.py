"""Automatic purchases: buy the seats that pending claims need, in one purchase for all claims of an account.

Safe to interrupt and to repeat: a purchase is a seat change, which is sent once, and the claims are granted
in the transaction that stores the snapshot with the new seats (`services.ledger.pending_claims`).
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
from models import assignment, generation, purchase_queue, seat_change
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
"""Seconds that an API call waits for a purchase."""

_MOST_AT_ONCE: Final = 50
# Longer than a purchase attempt takes. After a process was killed, the account waits this long at most.
_LEASE: Final = timedelta(minutes=1)
# Claims that arrive within this time share one purchase.
_LINGER: Final = 0.2
_SOON: Final = timedelta(seconds=2)
_CAUSE: Final = Cause(actor="system:auto_expand", source="purchase", reason="a claim is waiting for a seat")


def wait_for_seats(runtime: Runtime, account_id: str, assignment_ids: Collection[int]) -> None:
    """Wait at most `PATIENCE` seconds until none of these claims is pending any more. Buys the seats, unless
    another process does so.
    """
    until, pauses = time.monotonic() + PATIENCE, growing_pauses()
    while time.monotonic() < until:
        with runtime.sessions() as session:
            if not _ids(assignment.awaiting_purchase(session, account_id)).intersection(assignment_ids):
                return
        if not expand(runtime, account_id):
            time.sleep(next(pauses))


def expand_due(runtime: Runtime, *, until: float) -> None:
    """Buy for every account with due pending claims, until the monotonic clock reaches `until`."""
    with runtime.sessions() as session:
        due = purchase_queue.due_accounts(session, limit=_MOST_AT_ONCE)
    for account_id in due:
        if time.monotonic() >= until:
            return
        expand(runtime, account_id)


def expand(runtime: Runtime, account_id: str) -> bool:
    """Buy the seats that the account's pending claims need. Returns False if another process holds the
    purchase lease, if no attempt is due, or if a newer generation has taken over.

    After an error the claims stay pending and the purchase is tried again later.
    """
    with runtime.sessions.begin() as session:
        if generation.state_of(session, runtime.catalog).was_replaced:
            return False
        lease = purchase_queue.lease(session, account_id, _LEASE)
    if lease is None:
        return False
    delay = timedelta(seconds=backoff(lease.attempt))
    try:
        time.sleep(_LINGER)
        delay = _attempt(runtime, lease)
    except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
        fields = {"account_id": account_id, "error": type(error).__name__}
        log.error("auto-expand failed", extra=fields)  # noqa: TRY400
    with runtime.sessions.begin() as session:
        purchase_queue.release(session, lease, delay)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demand:
    """What is left to buy for an account.

    `totals` are the seats that the account needs in all, per seat type, and `at_most` the highest totals that
    the daily limit allows. `claims` maps the pending assignments to their seat types. `under_way` is the seat
    change of a running purchase, if any. No purchase may start before `pause` is over.
    """

    totals: Mapping[str, int]
    at_most: Mapping[str, int]
    claims: Mapping[int, str | None]
    under_way: str | None
    pause: timedelta

    def of(self, seat_type: str) -> _Demand:
        """The part of one seat type."""
        claims = {claim: its_type for claim, its_type in self.claims.items() if its_type == seat_type}
        return replace(self, totals={seat_type: self.totals[seat_type]}, claims=claims)


def _attempt(runtime: Runtime, lease: PurchaseLease) -> timedelta:
    """Run one purchase attempt; return the delay until the next.

    A purchase that is under way is settled first, but only once: if it still is, the next attempt continues.
    """
    later = max(_SOON, timedelta(seconds=backoff(lease.attempt)))
    for is_first_round in (True, False, False):
        demand = _update_claims(runtime, lease.account_id)
        if demand.pause:
            return demand.pause
        if demand.under_way is not None:
            if not is_first_round:
                return later
            changes.settle(runtime, demand.under_way)
        elif not demand.totals or not _buy(runtime, lease.account_id, demand):
            return later
    return later


def _update_claims(runtime: Runtime, account_id: str) -> _Demand:
    """Grant the claims for which there is a seat, refuse those whose purchase failed; return what is left."""
    with runtime.transaction() as session, changing(session, account_id) as account:
        accounts.reevaluate_locked(account, runtime.catalog, _CAUSE)
        waiting = assignment.awaiting_purchase(session, account_id)
        newest = seat_change.newest_automatic(session, account_id)
        if newest is not None and seat_change.is_in_vain(session, newest):
            reason = newest.message or "The purchase failed."
            _refuse(account, _still_pending(waiting, newest.buys_for), reason)
        failures = purchase_limits.failures_of(session, account_id)
        if len(failures) >= STOP_AFTER:
            _refuse(account, _still_pending(waiting), stopped_message(len(failures)))
        paused_until = purchase_limits.paused_until(session, account_id, failures)
        pending = {claim.id: claim.seat_type for claim in _still_pending(waiting)}
        if not pending:
            purchase_queue.remove(session, account_id)
        totals = pending_claims.wanted_seats(account)
        return _Demand(
            totals=totals,
            at_most=_at_most(runtime, account, totals),
            claims=pending,
            under_way=newest.id if newest is not None and _is_under_way(session, newest) else None,
            pause=max(paused_until - account.now, timedelta()) if paused_until and pending else timedelta(),
        )


def _at_most(runtime: Runtime, account: LockedAccount, totals: Mapping[str, int]) -> Mapping[str, int]:
    """The highest seat total of each type that the daily limit allows. More seats than needed may be bought,
    because a pack can cost less than fewer single seats.
    """
    if not totals:
        return {}
    budget = purchase_limits.daily_budget(account.session, AccountView.of(account), runtime.catalog, totals)
    needed = sum(overage(account.of(seat_type).purchased, number) for seat_type, number in totals.items())
    spare = max(budget.per_day - budget.today - needed, 0)
    return {seat_type: number + spare for seat_type, number in totals.items()}


def _is_under_way(session: Session, change: SeatChange) -> bool:
    """True if the purchase may still give the account its seats."""
    owner_id = session.get_one(Subscription, change.subscription_id).account_id
    return change.state == ChangeState.SUBMITTED and owner_id == change.account_id


def _buy(runtime: Runtime, account_id: str, demand: _Demand) -> bool:
    """Send one purchase. Returns False if it failed for a reason that may pass; it is tried again later.

    If the seats cannot be bought, the pending claims that need them are refused.
    """
    at_most = {seat_type: demand.at_most[seat_type] for seat_type in demand.totals}
    request = SeatRequest(seats=demand.totals, at_most=at_most, when=When.NOW, is_automatic=True)
    check = partial(_check_still_needed, runtime, demand)
    try:
        previewed = preview(runtime, account_id, request)
        confirm.confirm(runtime, account_id, previewed.token, actor=_CAUSE.actor, check=check)
    except SeatSyncError as error:
        if _is_temporary(error):
            log.info("purchase postponed", extra={"account_id": account_id, "error": error.code})
            return False
        if len(demand.totals) > 1:  # buy each type alone: the error may concern only one of them
            bought = [_buy(runtime, account_id, demand.of(seat_type)) for seat_type in demand.totals]
            return all(bought)
        with runtime.transaction() as session, changing(session, account_id) as account:
            accounts.reevaluate_locked(account, runtime.catalog, _CAUSE)
            waiting = assignment.awaiting_purchase(session, account_id)
            _refuse(account, _still_pending(waiting, demand.claims), error.message)
    return True


def _check_still_needed(
    runtime: Runtime, demand: _Demand, account: LockedAccount, change: SeatChange
) -> None:
    """Check under the account's lock, before the purchase is sent, that all its seats are still needed and
    that the daily limit allows them. The sync before the preview may have shown new seats, and members may
    have been released. Claims that arrived meanwhile wait for the next purchase.
    """
    steps = steps_of(change)
    only_adds = all(step.difference > 0 for step in steps.values())
    wanted = pending_claims.wanted_seats(account)
    if not only_adds or any(wanted.get(name, 0) < number for name, number in demand.totals.items()):
        raise SubscriptionChanged("The account's members or seats changed, so the purchase no longer fits.")
    budget = purchase_limits.daily_budget(account.session, AccountView.of(account), runtime.catalog, steps)
    if budget.today + change.seats_more > budget.per_day:
        raise NoSeatAvailable(
            f"{change.seats_more} seats would have to be bought at once. {daily_limit_message(budget)}"
        )
    change.buys_for = sorted(
        _ids(assignment.awaiting_purchase(account.session, account.account_id)) & set(demand.claims)
    )


def _is_temporary(error: SeatSyncError) -> bool:
    """True if the same purchase may succeed later without anybody's intervention."""
    if isinstance(error, ChangeRefused):
        return error.retry_helps
    temporary = (SubscriptionChanged, ChangeInFlight, PreviewExpired, Contended, TransientError)
    return isinstance(error, temporary)


def _refuse(account: LockedAccount, people: Sequence[Assignment], reason: str) -> None:
    pending_claims.refuse(account, people, f"No seat could be bought. {reason}")


def _still_pending(waiting: Sequence[Assignment], ids: Collection[int] | None = None) -> Sequence[Assignment]:
    """Those of the assignments that are still pending; with `ids`, only those with these ids."""
    return [one for one in waiting if one.awaits is not None and (ids is None or one.id in ids)]


def _ids(queue: Sequence[Assignment]) -> set[int]:
    return {person.id for person in queue}
