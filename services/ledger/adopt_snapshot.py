"""Adopt a retrieved snapshot into a subscription's row. No query is sent, so a dry run uses the same code as
a sync.
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
    """Assign the subscription to the account in `decision`, and store the snapshot as the verified one.

    Fields that the snapshot lacks keep their last known values. `seen_at` is when the retrieve began.
    `past_due_ends_at` is the provider's payment deadline from a webhook body. Returns the drift findings.
    """
    known = subscription.verified
    subscription.assign_to(decision.owner, decision.nonce)
    complete = completed(snapshot, known, catalog.account_key)
    count_findings = _store(subscription, complete, catalog, seen_at, past_due_ends_at)
    return (*count_findings, *missing(snapshot, known), *decision.findings)


def _store(
    subscription: Subscription,
    snapshot: SubscriptionSnapshot,
    catalog: Catalog,
    seen_at: datetime,
    past_due_ends_at: datetime | None,
) -> tuple[Finding, ...]:
    """Store the completed snapshot as the verified one, and count its seats. Returns the count's findings."""
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
    count_findings = count_subscription(subscription, catalog, seen_at)
    if not _keeps_unverified(subscription, catalog.effect(snapshot.status)):
        subscription.drop_unverified()
    return count_findings


def _keeps_unverified(subscription: Subscription, effect: StatusEffect | None) -> bool:
    """True if the unverified figures of a webhook body remain the only ones: no snapshot could be counted
    yet, and the status that the provider shows does not contradict the body.
    """
    return subscription.seats is None and effect in (None, subscription.raised_effect)


def _is_renewed(subscription: Subscription, snapshot: SubscriptionSnapshot) -> bool:
    """True if a new billing period began since the last sync. The subscription was paid in between then, even
    if no sync showed it as paid.
    """
    known = subscription.verified
    before = None if known is None else known.previous_billing_date
    now = snapshot.previous_billing_date
    return before is not None and now is not None and now > before


def _paid_seats(subscription: Subscription, snapshot: SubscriptionSnapshot, catalog: Catalog) -> Json | None:
    """The last seats that were paid for, if the cart changed while unpaid; None if the whole cart counts.

    A cart counts in full if the first sync shows it unpaid, because what was paid before is unknown. A cart
    that was only seen under a status missing from the catalogue is treated as changed.
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
    """The provider's payment deadline of the current billing period; None unless the status is past due.

    Only webhook bodies carry it, so a stored deadline stays valid while the subscription remains past due in
    the same period. A deadline that ended before the last sync, which showed another status, belongs to an
    earlier period.
    """
    if snapshot.status != SubscriptionStatus.PAST_DUE:
        return None
    is_same_period = subscription.status == SubscriptionStatus.PAST_DUE and not is_renewed
    stated = snapshot.past_due_ends_at or from_body
    if is_same_period:
        return stated or subscription.past_due_ends_at
    last_sync = subscription.verified_at
    is_old = stated is not None and last_sync is not None and stated <= last_sync
    return None if is_old else stated
