"""Entitlements: the seats and rules that subscriptions and contracts give an account now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from domain.counts import (
    AccountSeats,
    Seats,
    SubscriptionShare,
    account_seats,
    growth_findings,
    range_findings,
    subscription_seats,
    within_paid,
)
from domain.findings import COUNTING, Finding, Uncountable
from domain.notices import ending_at
from domain.seat_limit import at_least, from_json, to_json
from domain.seat_rules import AccountRules, Offer, account_rules
from domain.snapshot import SubscriptionSnapshot
from domain.statuses import UNPAID, Phase, Standing, StatusEffect, SubscriptionStanding, standing_of
from models import drift_finding
from models.account import now as account_now
from models.account_rules import Override
from models.base import Json
from models.subscription import Figures, Subscription, of_account, save, snapshot_from_json
from services.ledger.account_state import AccountState
from services.ledger.evaluation_inputs import Inputs

# The access that each status effect leaves, in order. A webhook body may only move a subscription upwards.
_ACCESS = {
    StatusEffect.COUNTS: 4,
    StatusEffect.COUNTS_UNTIL_DEADLINE: 3,
    StatusEffect.COUNTS_FOR_GRACE: 2,
    StatusEffect.PENDING: 1,
    StatusEffect.SUSPENDED: 1,
}


def evaluate(session: Session, account: AccountState, inputs: Inputs, catalog: Catalog) -> AccountRules:
    """Set the account's seats, rules and status from its subscriptions, its current contracts, and the free
    seats, which count only without either. Returns the rules that were applied.

    If the catalogue changed since the last evaluation, stored snapshots are counted again first.
    """
    subscriptions = inputs.subscriptions
    if account.catalog_digest != catalog.digest:
        for subscription in subscriptions:
            count_findings = count_subscription(subscription, catalog, account.now)
            save(session, subscription)
            drift_finding.update_findings(session, subscription.id, count_findings, kinds=COUNTING)
    shares = [share_of(subscription, catalog, account.now) for subscription in subscriptions]
    evaluated = account_seats(catalog, account.account_id, shares, now=account.now)
    rules = _rules(zip(subscriptions, shares, strict=True), evaluated, account.override, catalog)
    write_findings = drift_finding.update_findings if inputs.has_findings else drift_finding.record
    write_findings(session, f"account:{account.account_id}", rules.findings)
    account.unverified = any(subscription.unverified is not None for subscription in subscriptions)
    account.evaluate_at = None
    account.apply_entitlements(evaluated, rules, catalog.digest)
    for moment in _moments(account, rules, evaluated, catalog):
        account.evaluate_by(moment if moment > account.now else None)
    account.evaluate_by(inputs.next_expiry)
    account.compute_status()
    return rules


def _moments(
    account: AccountState, rules: AccountRules, evaluated: AccountSeats, catalog: Catalog
) -> Iterator[datetime]:
    """The times at which the account's seats change without an event, and those to send a warning of it."""
    if evaluated.deadline is not None:
        yield from (evaluated.deadline, ending_at(evaluated.deadline, rules.general.payment_grace))
    if evaluated.changes_at is not None:
        yield evaluated.changes_at
    yield from filter(None, (contract.notice_at for contract in catalog.contracts_of(account.account_id)))


def count_subscription(
    subscription: Subscription, catalog: Catalog, seen_at: datetime
) -> tuple[Finding, ...]:
    """Compute the verified figures from the verified snapshot, and return the drift findings about it.

    Figures that cannot be computed keep their last values. A status that differs from the stored one counts
    from `seen_at`.
    """
    if subscription.snapshot is None:
        return ()
    snapshot = snapshot_from_json(subscription.snapshot)
    if (effect := catalog.effect(snapshot.status)) is not None:
        _set_status(subscription, snapshot.status, effect, seen_at)
    try:
        cart = subscription_seats(catalog, snapshot)
    except Uncountable as uncountable:
        return uncountable.findings
    paid = cart if subscription.paid_seats is None else seats_from_json(subscription.paid_seats)
    seats = within_paid(cart, paid)
    subscription.seats = seats_to_json(seats)
    subscription.counted_at, subscription.counted_product = subscription.verified_at, snapshot.product_id
    product = catalog.product(snapshot.product_id)
    in_range = range_findings(product, cart) if product is not None else ()
    return (*in_range, *growth_findings(cart, seats))


def raised_figures(
    subscription: Subscription, snapshot: SubscriptionSnapshot, catalog: Catalog
) -> Figures | None:
    """The figures of an unverified snapshot, if they exceed those in force.

    None if the snapshot raises neither seats nor access, if it lowers either, or if it cannot be counted.
    Seats beyond the verified ones count only under a paid status.
    """
    effect = catalog.effect(snapshot.status)
    try:
        offered = subscription_seats(catalog, snapshot)
    except Uncountable:
        return None
    if effect is not StatusEffect.COUNTS and subscription.seats is not None:
        offered = within_paid(offered, seats_from_json(subscription.seats))
    in_force = seats_from_json(subscription.figures.seats or {})
    effect_in_force = effect_of(subscription, catalog)
    access_before, access_after = (_ACCESS.get(one, 0) if one else 0 for one in (effect_in_force, effect))
    gives_more = access_after > access_before or not _covers(in_force, offered)
    gives_less = access_after < max(access_before, 1) or not _covers(offered, in_force)
    if gives_less or not gives_more:
        return None
    return Figures(seats_to_json(offered), snapshot.status, effect)


def _covers(more: Mapping[str, Seats], less: Mapping[str, Seats]) -> bool:
    """True if `more` has at least as many seats as `less` of every seat type."""
    return all(
        seat_type in more and at_least(more[seat_type].purchased, seats.purchased)
        for seat_type, seats in less.items()
    )


def _set_status(subscription: Subscription, status: str, effect: StatusEffect, seen_at: datetime) -> None:
    """Set the verified status and since when it lasts. All unpaid statuses share one `unpaid_since`."""
    if effect not in UNPAID:
        subscription.unpaid_since = None
    elif subscription.unpaid_since is None:
        was_unpaid = subscription.effect in UNPAID and subscription.status_since is not None
        subscription.unpaid_since = subscription.status_since if was_unpaid else seen_at
    if subscription.status != status:
        subscription.status, subscription.status_since = status, seen_at
    subscription.effect = effect.value


def share_of(subscription: Subscription, catalog: Catalog, now: datetime) -> SubscriptionShare:
    """The seats that the subscription gives its account, and whether they count now.

    A payment deadline is compared with the last sync that could be counted, not with `now`: after a deadline
    a sync must first show that nothing was paid.
    """
    figures = subscription.figures
    seats = seats_from_json(figures.seats or {})
    effect = effect_of(subscription, catalog)
    if subscription.gone_at is not None:
        return SubscriptionShare(seats, SubscriptionStanding(Phase.ENDED))
    if effect is None or figures.seats is None:
        return SubscriptionShare(seats, SubscriptionStanding(Phase.NOT_YET))
    standing = standing_of(
        effect,
        since=subscription.unpaid_since or subscription.status_since or now,
        now=min(now, subscription.counted_at or now),
        payment_grace=catalog.payment_grace(subscription.counted_product or subscription.product_id),
        provider_deadline=subscription.past_due_ends_at,
    )
    return SubscriptionShare(seats, standing)


def effect_of(subscription: Subscription, catalog: Catalog) -> StatusEffect | None:
    """The effect of the subscription's status. If the catalogue does not describe the status, the last known
    effect; None if there is none.
    """
    figures = subscription.figures
    known = catalog.effect(figures.status) if figures.status else None
    return known or (StatusEffect(figures.effect) if figures.effect else None)


def rules_of(session: Session, account_id: str, override: Json | None, catalog: Catalog) -> AccountRules:
    """The rules that an evaluation would apply now, computed without locks or changes."""
    subscriptions = of_account(session, account_id)
    now = account_now(session)
    shares = [share_of(subscription, catalog, now) for subscription in subscriptions]
    evaluated = account_seats(catalog, account_id, shares, now=now)
    return _rules(zip(subscriptions, shares, strict=True), evaluated, override, catalog)


def _rules(
    shares: Iterable[tuple[Subscription, SubscriptionShare]],
    evaluated: AccountSeats,
    override: Json | None,
    catalog: Catalog,
) -> AccountRules:
    """The rules of the products that were last counted, with the app's override on top."""
    own = Override.model_validate(override or {})
    offers = [
        Offer(product_id, catalog.rules(product_id), share)
        for subscription, share in shares
        if (product_id := subscription.counted_product or subscription.product_id) is not None
    ]
    given = {} if evaluated.standing is Standing.SUSPENDED else evaluated.seats
    return account_rules(catalog, offers, own.applied_to, given=given, named=own.seat_types)


def seats_to_json(seats: Mapping[str, Seats]) -> Json:
    """The seats of a subscription by type, as its row stores them."""
    return {
        seat_type: {"included": to_json(found.included), "addon": found.addon}
        for seat_type, found in sorted(seats.items())
    }


def seats_from_json(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Seats]:
    """The reverse of `seats_to_json`."""
    return {
        seat_type: Seats(from_json(found["included"]), found["addon"]) for seat_type, found in stored.items()
    }
