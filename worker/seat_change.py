"""Seat changes: preview what it costs, confirm exactly that, and read until it is known what came of it.

Nothing is provisioned on the provider's word that it agreed: seats are there once a snapshot shows them
(`models.planned_changes`). A write is sent once. When its answer is lost, the subscription is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from sqlalchemy.orm import Session

from models import account, seat_change, sitters, subscription
from models.book import Balance, Book, open_book
from models.planned_changes import plan_of
from models.seat_change import ChangeState, SeatChange
from models.subscription import Subscription, kept_snapshot
from providers.base import Caller
from runtime.wiring import Runtime
from seats import leaving
from seats.carts import known_product, with_seats
from seats.catalog import Product
from seats.counts import NO_SEATS, cart_seats
from seats.errors import (
    ChangeRefused,
    NoSubscription,
    NotCancellable,
    NothingToChange,
    OutcomeUnknown,
    PreviewExpired,
    ProviderError,
    SeatsInUse,
    SubscriptionChanged,
    TransientError,
)
from seats.leaving import Leaver
from seats.limit import SeatLimit, Unlimited
from seats.plan import Cart, Plan, Preview, Proration, When
from seats.seat_changes import (
    SeatStep,
    Steps,
    basis,
    cart_to_json,
    is_increase,
    moves_billing_date,
    plan_to_json,
    sentence,
    shown,
)
from seats.snapshot import SubscriptionSnapshot, SubscriptionStatus
from worker.backoff import backoff
from worker.prices import prices_of
from worker.resync import resync_subscription

log = logging.getLogger(__name__)

_PATIENCE: Final = 5.0  # seconds that a caller waits for a look
_CHANGEABLE: Final = (SubscriptionStatus.ACTIVE,)
_MOST_NAMED: Final = 100
_MOST_AT_ONCE: Final = 50
_IN_PROGRESS: Final = "change_in_progress"
# A write whose answer was lost may still arrive; longer than any request of ours can take.
_SETTLING: Final = timedelta(seconds=30)
_LOOK_AGAIN: Final = 2.0
_GROWTH_EVERY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """So many purchased seats the account should have of these types, in all.

    `subscription_id` may be left out where the account has one that can be changed. Unset terms are the
    catalogue's. `release` are the members whose seats are given back with the change; `suggested`: those
    who would have to leave, by the usual order.
    """

    seats: Mapping[str, int]
    subscription_id: str | None = None
    when: When | None = None
    proration: Proration | None = None
    release: Sequence[str] | Literal["suggested"] = ()


@dataclass(frozen=True, slots=True)
class Previewed:
    """A change that can be confirmed with the token, which is shown this once."""

    change: SeatChange
    token: str


def preview(runtime: Runtime, account_id: str, wish: Wish) -> Previewed:
    """What granting the wish would cost and whom it would concern; nothing is changed by asking.

    Raises `AccountNotFound`, a `Refused` that says why the wish cannot be granted, `SeatsInUse` with those
    who would have to leave, and what the provider raises.
    """
    chosen = _choose(runtime, account_id, wish.subscription_id)
    _look(runtime, chosen)
    with runtime.sessions() as session:
        snapshot = _snapshot(session, chosen)
        balances = _balances(session, account_id)
    cart = Cart.of(snapshot)
    wanted = _wanted(runtime, cart, balances, wish.seats)
    prices = prices_of(runtime.provider, known_product(runtime.catalog, cart.product_id))
    after = with_seats(runtime.catalog, cart, wanted, prices)
    steps = _steps(runtime, cart, after, balances)
    if after == cart:
        raise NothingToChange("The account has so many seats already.", details={"seats": dict(wish.seats)})
    plan = _plan(runtime, snapshot, after, steps, wish)
    told = runtime.provider.preview_change(plan)
    with runtime.transaction() as session:
        book = open_book(session, account_id)
        release = _release(session, book, steps, wish.release)
        change = SeatChange(
            account_id=account_id,
            subscription_id=chosen,
            plan=plan_to_json(plan),
            basis=basis(snapshot),
            seats={name: {"before": step.before, "after": step.after} for name, step in steps.items()},
            shown=_shown(runtime.catalog.products[cart.product_id], snapshot, plan, steps, told),
            release=release,
        )
        token = seat_change.put(session, change)
    return Previewed(change, token)


def confirm(runtime: Runtime, account_id: str, token: str) -> SeatChange:
    """Send the previewed change, once; pressed again, the change as it stands.

    Raises `SeatChangeNotFound`, `PreviewExpired`, `SubscriptionChanged`, `ChangeInFlight`, `SeatsInUse`,
    `ChangeRefused` and `TransientError`: then nothing was sent, or nothing came of it.
    """
    with runtime.sessions() as session:
        asked = seat_change.by_token(session, account_id, token)
    if asked.state != ChangeState.PREVIEWED:
        return _refused_before(asked)
    _look(runtime, asked.subscription_id)
    with runtime.transaction() as session:
        book = open_book(session, account_id)
        change = seat_change.by_token(session, account_id, token)
        if change.state != ChangeState.PREVIEWED:
            return _refused_before(change)
        if change.expires_at <= book.now:
            seat_change.move(session, change, ChangeState.EXPIRED)
        else:
            _submit(session, book, change)
    if change.state == ChangeState.EXPIRED:
        return _refused_before(change)
    _send(runtime, change)
    return settle(runtime, change.id, caller=Caller.INTERACTIVE)


def _refused_before(change: SeatChange) -> SeatChange:
    if change.state == ChangeState.EXPIRED:
        raise PreviewExpired(
            "The preview is too old to be confirmed, and nothing was sent: preview again.",
            details={"change_id": change.id},
        )
    return change


def _submit(session: Session, book: Book, change: SeatChange) -> None:
    snapshot = _snapshot(session, change.subscription_id)
    if basis(snapshot) != change.basis:
        raise SubscriptionChanged(
            "The subscription is not what the preview was made of any more, and nothing was sent: preview "
            "again.",
            details={"change_id": change.id, "retry_helps": False},
        )
    seat_change.refuse_second(session, change)
    steps = {name: SeatStep(**step) for name, step in change.seats.items()}
    _refuse_if_in_use(session, book, steps, change.release)
    seat_change.move(session, change, ChangeState.SUBMITTED)
    change.next_at = book.now + timedelta(seconds=_LOOK_AGAIN)


def _send(runtime: Runtime, change: SeatChange) -> None:
    """The one write. Whatever is raised here but `OutcomeUnknown` means that nothing was changed."""
    try:
        runtime.provider.change(plan_of(change), change_id=change.id)
    except OutcomeUnknown as lost:
        log.warning("the answer to a seat change was lost", extra={"change": change.id})
        with runtime.sessions.begin() as session:
            kept = seat_change.lock(session, change.id)
            kept.code, kept.message = lost.code, lost.message
    except ProviderError as error:
        helps = error.retry_helps if isinstance(error, ChangeRefused) else isinstance(error, TransientError)
        with runtime.sessions.begin() as session:
            kept = seat_change.lock(session, change.id)
            seat_change.move(
                session, kept, ChangeState.FAILED, code=error.code, message=error.message, retry_helps=helps
            )
        raise


def settle(runtime: Runtime, change_id: str, *, caller: Caller = Caller.WEBHOOK) -> SeatChange:
    """Find out what became of a change that was sent; the change as it stands then.

    Whether the provider still works on it is asked before the look: so what it finished in between is seen.
    """
    with runtime.sessions() as session:
        change = session.get_one(SeatChange, change_id)
    if change.state == ChangeState.SUBMITTED:
        in_progress = _is_in_progress(runtime, change)
        resync_subscription(runtime, change.subscription_id, patience=_PATIENCE, caller=caller)
        _conclude(runtime, change_id, in_progress=in_progress)
    elif change.state == ChangeState.SCHEDULED:
        _take_back_if_outgrown(runtime, change)
    with runtime.sessions() as session:
        return session.get_one(SeatChange, change_id)


def settle_due(runtime: Runtime, *, until: float) -> None:
    """Settle what is due, until the monotonic clock reaches `until`; one failure stops no other."""
    with runtime.sessions() as session:
        due = seat_change.due(session, limit=_MOST_AT_ONCE)
    for change_id in due:
        if time.monotonic() >= until:
            return
        try:
            settle(runtime, change_id)
        except ProviderError as error:
            log.warning("a seat change is not settled", extra={"change": change_id, "error": error.code})
            with runtime.sessions.begin() as session:
                seat_change.postpone(session, change_id, timedelta(seconds=backoff(10)))


def _is_in_progress(runtime: Runtime, change: SeatChange) -> bool | None:
    """Whether the provider still waits for its payment; None if it cannot be asked. A preview changes
    nothing, and is refused for the same reasons as a change.
    """
    try:
        runtime.provider.preview_change(plan_of(change))
    except ChangeRefused as refused:
        return refused.code == _IN_PROGRESS
    except ProviderError:
        return None
    return False


def _conclude(runtime: Runtime, change_id: str, *, in_progress: bool | None) -> None:
    with runtime.sessions.begin() as session:
        change = seat_change.lock(session, change_id)
        if change.state != ChangeState.SUBMITTED or change.sent_at is None:
            return
        now = account.now(session)
        kept = session.get_one(Subscription, change.subscription_id)
        was_seen = kept.verified_at is not None and kept.verified_at >= change.sent_at + _SETTLING
        if in_progress is False and was_seen:
            seat_change.move(
                session,
                change,
                ChangeState.FAILED,
                code="not_applied",
                message="The provider shows no trace of the change: its payment failed, or it never arrived. "
                "Nothing has changed; preview again if it is still wanted.",
                retry_helps=True,
            )
            return
        change.attempts += 1
        change.next_at = now + timedelta(seconds=max(_LOOK_AGAIN, backoff(change.attempts)))


def cancel(runtime: Runtime, account_id: str, change_id: str) -> SeatChange:
    """Take a scheduled change back, or a preview that is not wanted; the change as it stands then.

    Raises `SeatChangeNotFound`, `NotCancellable`, and what the provider raises.
    """
    with runtime.transaction() as session:
        open_book(session, account_id)
        change = seat_change.get(session, account_id, change_id)
        if change.state == ChangeState.PREVIEWED:
            seat_change.move(session, change, ChangeState.EXPIRED)
    if change.state == ChangeState.SCHEDULED:
        _drop(runtime, change)
    elif change.state not in (ChangeState.EXPIRED, ChangeState.CANCELLED):
        raise NotCancellable(
            f"The change is {change.state} and cannot be taken back: preview another one.",
            details={"change_id": change.id, "state": change.state},
        )
    with runtime.sessions() as session:
        return seat_change.get(session, account_id, change_id)


def _drop(runtime: Runtime, change: SeatChange) -> None:
    try:
        runtime.provider.drop_scheduled_change(change.subscription_id)
    except OutcomeUnknown:
        log.warning("the answer to a cancellation was lost", extra={"change": change.id})
    except ChangeRefused as refused:
        if refused.code != "nothing_scheduled":
            raise
    resync_subscription(runtime, change.subscription_id, patience=_PATIENCE, caller=Caller.INTERACTIVE)


def _take_back_if_outgrown(runtime: Runtime, change: SeatChange) -> None:
    """A reduction that people have outgrown since is not carried out: they would lose their seats."""
    with runtime.transaction() as session:
        book = open_book(session, change.account_id)
        kept = seat_change.lock(session, change.id)
        kept.next_at = book.now + _GROWTH_EVERY
        steps = {name: SeatStep(**step) for name, step in kept.seats.items()}
        is_outgrown = bool(_too_many(session, book, steps, kept.release))
    if is_outgrown:
        log.info("a scheduled reduction was outgrown", extra={"change": change.id})
        _drop(runtime, change)


# What a preview is made of.


def _choose(runtime: Runtime, account_id: str, asked_for: str | None) -> str:
    """The subscription to change: the one asked for, or the only one that can be."""
    with runtime.sessions() as session:
        account.get(session, account_id)
        found = subscription.of_account(session, account_id)
    if asked_for is not None:
        if asked_for not in {one.id for one in found}:
            raise NoSubscription(
                f"Account {account_id!r} has no subscription {asked_for!r}.",
                details={"subscriptions": [one.id for one in found]},
            )
        return asked_for
    live = [one.id for one in found if one.status in _CHANGEABLE]
    if len(live) != 1:
        wanted = "name the one to change" if live else "buy by checkout first"
        raise NoSubscription(
            f"Account {account_id!r} has {len(live)} active subscriptions: {wanted}.",
            details={"subscriptions": live},
        )
    return live[0]


def _look(runtime: Runtime, subscription_id: str) -> None:
    """What is changed is what the provider has now: a cart that is out of date would undo others' changes."""
    looked = resync_subscription(runtime, subscription_id, patience=_PATIENCE)
    if looked.waiting:
        raise TransientError(
            "The subscription could not be looked at, and nothing was sent: "
            f"{looked.waiting[0].reason or 'the provider did not answer in time.'}"
        )


def _snapshot(session: Session, subscription_id: str) -> SubscriptionSnapshot:
    kept = session.get_one(Subscription, subscription_id).snapshot
    if kept is None:
        raise NoSubscription("The provider does not know the subscription.")
    return kept_snapshot(kept)


def _balances(session: Session, account_id: str) -> Mapping[str, Balance]:
    found = account.get(session, account_id)
    return {name: Balance.from_json(kept) for name, kept in found.seats.items()}


def _wanted(
    runtime: Runtime, cart: Cart, balances: Mapping[str, Balance], asked: Mapping[str, int]
) -> Mapping[str, int]:
    """What the one subscription has to give for the account to have so many in all."""
    gives = cart_seats(runtime.catalog, cart)
    wanted = {}
    for name, number in asked.items():
        in_all = _finite(name, balances[name].purchased if name in balances else 0)
        own = _finite(name, gives[name].purchased if name in gives else 0)
        wanted[name] = max(own + number - in_all, 0)
    return wanted


def _steps(runtime: Runtime, before: Cart, after: Cart, balances: Mapping[str, Balance]) -> Steps:
    """The account's purchased seats of the types that the carts differ in."""
    had, will_have = cart_seats(runtime.catalog, before), cart_seats(runtime.catalog, after)
    steps = {}
    for name in sorted({*had, *will_have}):
        was = had.get(name, NO_SEATS).purchased
        will = will_have.get(name, NO_SEATS).purchased
        if was != will:
            in_all = _finite(name, balances[name].purchased if name in balances else was)
            steps[name] = SeatStep(in_all, in_all + _finite(name, will) - _finite(name, was))
    return steps


def _finite(seat_type: str, limit: SeatLimit) -> int:
    if isinstance(limit, Unlimited):
        raise NothingToChange(
            f"The account has unlimited {seat_type} seats.", details={"seat_type": seat_type}
        )
    return limit


def _plan(runtime: Runtime, snapshot: SubscriptionSnapshot, after: Cart, steps: Steps, wish: Wish) -> Plan:
    rules = runtime.catalog.rules(snapshot.product_id)
    increases = is_increase(steps)
    when = wish.when or (When.NOW if increases else rules.decrease_when)
    return Plan(
        subscription_id=snapshot.subscription_id,
        cart=after,
        when=when,
        proration=wish.proration or rules.proration(when, is_increase=increases),
        prevent_on_failure=increases,
    )


def _release(
    session: Session, book: Book, steps: Steps, asked: Sequence[str] | Literal["suggested"]
) -> list[str]:
    """Those whose seats go with the change; raises `SeatsInUse` where that is not enough."""
    if asked == "suggested":
        return [leaver.sitter.member_id for leaver in _too_many(session, book, steps, ())]
    _refuse_if_in_use(session, book, steps, asked)
    return list(asked)


def _refuse_if_in_use(session: Session, book: Book, steps: Steps, release: Sequence[str]) -> None:
    over = _too_many(session, book, steps, release)
    if over:
        raise SeatsInUse(
            f"{len(over)} more people sit there than seats would be left: name those whose seats are given "
            'back in "release", or say "suggested" for the ones listed.',
            details={"leavers": [_leaver(one) for one in over[:_MOST_NAMED]], "total": len(over)},
        )


def _too_many(session: Session, book: Book, steps: Steps, release: Sequence[str]) -> Sequence[Leaver]:
    """Who would have to leave beside those to be released, in the usual order."""
    fewer = {name: step.after for name, step in steps.items() if step.difference < 0}
    gone = set(release)
    people = [one for one in sitters.of(session, book.account_id, list(fewer)) if one.member_id not in gone]
    going = leaving.leavers(people, fewer, at_most=_MOST_NAMED * 100)
    return [one for name in sorted(going) for one in going[name]]


def _leaver(one: Leaver) -> dict[str, Any]:
    person = one.sitter
    return {
        "member_id": person.member_id,
        "name": person.name,
        "role": person.role,
        "seat_type": person.seat_type,
        "protected": person.protected,
        "reason": one.reason,
    }


def _shown(
    product: Product, snapshot: SubscriptionSnapshot, plan: Plan, steps: Steps, told: Preview
) -> dict[str, Any]:
    before = Cart.of(snapshot)
    date = told.next_billing_date
    return {
        "cart": {"before": cart_to_json(before), "after": cart_to_json(plan.cart)},
        "charged_now": shown(told.charged_now),
        "tax": shown(told.tax),
        "credit": shown(told.credit),
        "renewal": shown(told.renewal),
        "next_billing_date": date.isoformat() if date is not None else None,
        "billing_date_moves": moves_billing_date(told, snapshot, plan.when),
        "minimum": dict(product.minimum),
        "maximum": dict(product.maximum),
        "sentence": sentence(steps, told, snapshot, plan.when),
    }
