"""Taking a retrieved snapshot over into a subscription's row. It reads and writes no database, so that a dry
run counts as a sync does.
"""

from __future__ import annotations

from datetime import datetime

from domain.absence import completed, missing
from domain.catalog.model import Catalog
from domain.drift import fingerprint
from domain.findings import Finding
from domain.ownership import Decision
from domain.snapshot import SubscriptionSnapshot, SubscriptionStatus
from domain.statuses import StatusEffect
from models.base import Json
from models.subscription import Subscription, snapshot_to_json
from services.ledger.entitlements import count_subscription


def adopt_snapshot(
    subscription: Subscription,
    snapshot: SubscriptionSnapshot,
    decision: Decision,
    catalog: Catalog,
    seen_at: datetime,
    *,
    past_due_ends_at: datetime | None = None,
) -> tuple[Finding, ...]:
    """Place the subscription in the account that was decided for it, and store the snapshot, completed by
    what was known, as the verified one. Returns what a person should see.

    `past_due_ends_at` is the provider's payment deadline from a webhook's body.
    """
    known = subscription.verified
    subscription.assign_to(decision.owner, decision.nonce)
    whole = completed(snapshot, known, catalog.account_key)
    seen = _store(subscription, whole, catalog, seen_at, past_due_ends_at)
    return (*seen, *missing(snapshot, known), *decision.findings)


def _store(
    subscription: Subscription,
    snapshot: SubscriptionSnapshot,
    catalog: Catalog,
    seen_at: datetime,
    past_due_ends_at: datetime | None,
) -> tuple[Finding, ...]:
    """The completed snapshot is the verified one from now on; what the count of its seats found."""
    is_renewed = _is_renewed(subscription, snapshot)
    if is_renewed and subscription.unpaid_since is not None:
        subscription.unpaid_since = seen_at
    subscription.missing_since = subscription.gone_at = None
    subscription.paid_seats = _paid_seats(subscription, snapshot, catalog)
    if catalog.effect(snapshot.status) is not None:  # else the last known status stays, with its deadline
        subscription.past_due_ends_at = _deadline(
            subscription, snapshot, past_due_ends_at, is_renewed=is_renewed
        )
    subscription.snapshot = snapshot_to_json(snapshot, catalog.account_key)
    subscription.fingerprint = fingerprint(snapshot)
    subscription.verified_at = seen_at
    seen = count_subscription(subscription, catalog, seen_at)
    if not _leaves_the_raise(subscription, catalog.effect(snapshot.status)):
        subscription.drop_unverified()
    return seen


def _leaves_the_raise(subscription: Subscription, effect: StatusEffect | None) -> bool:
    """Whether a body's figures are still the only ones: nothing was ever counted, and the status that the
    provider shows does not contradict the body's.
    """
    return subscription.seats is None and effect in (None, subscription.raised_effect)


def _is_renewed(subscription: Subscription, snapshot: SubscriptionSnapshot) -> bool:
    """Whether a billing period has begun since the subscription was last seen, so that it was paid for in
    between, even if no sync has shown that.
    """
    known = subscription.verified
    before = None if known is None else known.previous_billing_date
    now = snapshot.previous_billing_date
    return before is not None and now is not None and now > before


def _paid_seats(subscription: Subscription, snapshot: SubscriptionSnapshot, catalog: Catalog) -> Json | None:
    """The seats that were paid for, if the cart changed since without a payment; None if all of it counts.

    A cart that is first seen unpaid counts whole: nothing says what was paid before. One that was only seen
    in a status nobody knows has changed since the last good count.
    """
    effect = catalog.effect(snapshot.status)
    if effect is StatusEffect.COUNTS:
        return None
    if effect is None or subscription.paid_seats is not None:
        return subscription.paid_seats
    known = subscription.verified
    if known is None:
        return None
    is_known_cart = catalog.effect(known.status) is not None and _cart(known) == _cart(snapshot)
    return None if is_known_cart else subscription.seats


def _cart(snapshot: SubscriptionSnapshot) -> tuple[object, ...]:
    return snapshot.product_id, snapshot.quantity, snapshot.addons


def _deadline(
    subscription: Subscription,
    snapshot: SubscriptionSnapshot,
    from_body: datetime | None,
    *,
    is_renewed: bool,
) -> datetime | None:
    """The provider's payment deadline of this period; only bodies carry it, so what one said holds while the
    subscription stays past due for the same period.

    One that was over when the subscription was last seen in another status belongs to an earlier period.
    """
    if snapshot.status != SubscriptionStatus.PAST_DUE:
        return None
    is_going_on = subscription.status == SubscriptionStatus.PAST_DUE and not is_renewed
    stated = snapshot.past_due_ends_at or from_body
    if is_going_on:
        return stated or subscription.past_due_ends_at
    seen_before = subscription.verified_at
    return None if stated is None or (seen_before is not None and stated <= seen_before) else stated
