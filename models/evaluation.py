"""From subscriptions, contracts and the clock to what an account may use now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from models import assignment, finding
from models.account import now as account_now
from models.base import Json
from models.book import Book
from models.rules import Override
from models.subscription import Subscription, of_account
from seats.catalog import Catalog
from seats.counts import (
    AccountSeats,
    Seats,
    SubscriptionShare,
    account_seats,
    range_findings,
    subscription_seats,
)
from seats.findings import Finding, Uncountable
from seats.grace import ending_at
from seats.limit import from_json, to_json
from seats.rules import AccountRules, Offer, account_rules
from seats.statuses import Phase, StatusEffect, SubscriptionStanding, standing_of


def evaluate(session: Session, book: Book, catalog: Catalog) -> AccountRules:
    """Restate the book: every subscription weighed, contracts in term, free seats where nothing else is.

    A catalogue that changed since weighs the stored snapshots anew. Returns the rules it was restated by.
    """
    subscriptions = of_account(session, book.account_id)
    if book.catalog_digest != catalog.digest:
        for subscription in subscriptions:
            finding.settle(session, subscription.id, weigh(subscription, catalog, book.now))
    shares = [share_of(subscription, catalog, book.now) for subscription in subscriptions]
    evaluated = account_seats(catalog, book.account_id, shares, now=book.now)
    rules = _rules(zip(subscriptions, shares, strict=True), book.override, catalog)
    finding.settle(session, f"account:{book.account_id}", rules.findings)
    book.unverified = any(subscription.unverified is not None for subscription in subscriptions)
    book.evaluate_at = None
    book.restate(evaluated, rules, catalog.digest)
    for moment in _moments(book, rules, evaluated, catalog):
        book.wake_by(moment if moment > book.now else None)
    book.wake_by(assignment.next_expiry(session, book.account_id))
    return rules


def _moments(
    book: Book, rules: AccountRules, evaluated: AccountSeats, catalog: Catalog
) -> Iterator[datetime]:
    """When time alone changes the account, or the app has to be told that it will."""
    for seat_type in book.balances:
        yield from book.moments_of(seat_type)
    if evaluated.deadline is not None:
        yield from (evaluated.deadline, ending_at(evaluated.deadline, rules.general.payment_grace))
    if evaluated.changes_at is not None:
        yield evaluated.changes_at
    yield from filter(None, (contract.notice_at for contract in catalog.contracts_of(book.account_id)))


def weigh(subscription: Subscription, catalog: Catalog, seen_at: datetime) -> tuple[Finding, ...]:
    """Work out the figures and the status from the newest snapshot; what can't be told stays as it was.

    A status that is new began at `seen_at`. Returns what a person should see about the snapshot.
    """
    snapshot = subscription.newest
    if snapshot is None:
        return ()
    if (effect := catalog.effect(snapshot.status)) is not None:
        if subscription.status != snapshot.status:
            subscription.status = snapshot.status
            # What only a body says begins no status: the verified one may go on, with its clock.
            if subscription.unverified is None:
                subscription.status_since = seen_at
        subscription.effect = effect.value
    try:
        seats = subscription_seats(catalog, snapshot)
    except Uncountable as uncountable:
        return uncountable.findings
    subscription.seats = seats_to_json(seats)
    if effect is not None and subscription.unverified is None:
        subscription.counted_at, subscription.counted_product = subscription.verified_at, snapshot.product_id
    product = catalog.product(snapshot.product_id)
    return range_findings(product, seats) if product is not None else ()


def share_of(subscription: Subscription, catalog: Catalog, now: datetime) -> SubscriptionShare:
    """What the subscription adds to its account.

    Grace is judged at the last look that told us something, not now: a deadline that has passed counts
    only once a look after it has shown that nothing was paid meanwhile.
    """
    seats = seats_from_json(subscription.seats or {})
    effect = effect_of(subscription, catalog)
    if effect is None or subscription.seats is None:
        return SubscriptionShare(seats, SubscriptionStanding(Phase.NOT_YET))
    standing = standing_of(
        effect,
        since=subscription.status_since or now,
        now=min(now, subscription.counted_at or now),
        payment_grace=catalog.payment_grace(subscription.counted_product or subscription.product_id),
        provider_deadline=subscription.past_due_ends_at,
    )
    return SubscriptionShare(seats, standing)


def effect_of(subscription: Subscription, catalog: Catalog) -> StatusEffect | None:
    """What its status does; the last effect we knew for a status that is no longer described."""
    known = catalog.effect(subscription.status) if subscription.status else None
    return known or (StatusEffect(subscription.effect) if subscription.effect else None)


def rules_of(session: Session, account_id: str, override: Json | None, catalog: Catalog) -> AccountRules:
    """The rules that an evaluation now would go by."""
    subscriptions = of_account(session, account_id)
    now = account_now(session)
    shares = [share_of(subscription, catalog, now) for subscription in subscriptions]
    return _rules(zip(subscriptions, shares, strict=True), override, catalog)


def _rules(
    shares: Iterable[tuple[Subscription, SubscriptionShare]], override: Json | None, catalog: Catalog
) -> AccountRules:
    """The rules of the products that were counted last, with the app's own decisions on top."""
    own = Override.model_validate(override or {})
    offers = [
        Offer(product_id, catalog.rules(product_id), share)
        for subscription, share in shares
        if (product_id := subscription.counted_product or subscription.product_id) is not None
    ]
    return account_rules(catalog, offers, own.applied_to, named=own.seat_types)


def seats_to_json(seats: Mapping[str, Seats]) -> Json:
    return {
        seat_type: {"included": to_json(found.included), "addon": found.addon}
        for seat_type, found in sorted(seats.items())
    }


def seats_from_json(kept: Mapping[str, Mapping[str, Any]]) -> dict[str, Seats]:
    return {
        seat_type: Seats(from_json(found["included"]), found["addon"]) for seat_type, found in kept.items()
    }
