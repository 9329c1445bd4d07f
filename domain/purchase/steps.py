"""Seat changes: their seats before and after, how plans are stored, and what a snapshot shows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from domain.billing_terms import Proration, When
from domain.cart import Cart
from domain.purchase.money import Money
from domain.purchase.plan import Plan, Preview
from domain.seat_limit import SeatLimit, Unlimited, add, at_least, from_json, to_json
from domain.snapshot import AddonQuantity, SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class SeatStep:
    """The purchased seats of one type before and after a change. Only a change to another product can lead to
    unlimited seats, or from them to a number.
    """

    before: SeatLimit
    after: SeatLimit

    @property
    def is_more(self) -> bool:
        return not at_least(self.before, self.after)

    @property
    def is_less(self) -> bool:
        return not at_least(self.after, self.before)

    @property
    def difference(self) -> int | None:
        """How many seats more; None if they were or become unlimited."""
        if isinstance(self.before, Unlimited) or isinstance(self.after, Unlimited):
            return None
        return self.after - self.before

    def applied_to(self, purchased: SeatLimit) -> SeatLimit:
        """The seats after the change, if there are `purchased` before it."""
        return self.after if self.difference is None else add(purchased, self.difference)

    def to_json(self) -> dict[str, int | str]:
        """The step as it is stored, and as the API shows it."""
        return {"before": to_json(self.before), "after": to_json(self.after)}

    @classmethod
    def from_json(cls, stored: Mapping[str, int | str]) -> Self:
        """The reverse of `to_json`."""
        return cls(from_json(stored["before"]), from_json(stored["after"]))


Steps = Mapping[str, SeatStep]


class PlanStatus(StrEnum):
    """What a snapshot shows of a plan that was sent."""

    APPLIED = "applied"
    SCHEDULED = "scheduled"
    NONE = "none"


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as `seat_changes` stores it."""
    return {
        "subscription_id": plan.subscription_id,
        "cart": cart_to_json(plan.cart),
        "when": plan.when.value,
        "proration": plan.proration.value,
        "prevent_on_failure": plan.prevent_on_failure,
    }


def plan_from_json(stored: Mapping[str, Any]) -> Plan:
    """The reverse of `plan_to_json`."""
    cart = stored["cart"]
    addons = tuple(AddonQuantity(one["addon_id"], one["quantity"]) for one in cart["addons"])
    return Plan(
        subscription_id=stored["subscription_id"],
        cart=Cart(cart["product_id"], cart["quantity"], addons),
        when=When(stored["when"]),
        proration=Proration(stored["proration"]),
        prevent_on_failure=stored["prevent_on_failure"],
    )


def cart_to_json(cart: Cart) -> dict[str, Any]:
    """The cart as it is stored, and as the API shows it."""
    addons = [{"addon_id": one.addon_id, "quantity": one.quantity} for one in cart.addons]
    return {"product_id": cart.product_id, "quantity": cart.quantity, "addons": addons}


def status_of(plan: Plan, snapshot: SubscriptionSnapshot) -> PlanStatus:
    """Whether the snapshot shows the plan as applied, as scheduled, or not at all."""
    if snapshot.addons is not None and Cart.of(snapshot) == plan.cart:
        return PlanStatus.APPLIED
    return PlanStatus.SCHEDULED if scheduled_cart(snapshot) == plan.cart else PlanStatus.NONE


def scheduled_cart(snapshot: SubscriptionSnapshot) -> Cart | None:
    """The cart of a scheduled plan change; None if none is scheduled."""
    change = snapshot.scheduled_change
    return None if change is None else Cart(change.product_id, change.quantity, change.addons)


def basis(snapshot: SubscriptionSnapshot) -> str:
    """A hash of the facts that a preview depends on. If it differs, the preview is out of date."""
    facts = (
        Cart.of(snapshot),
        snapshot.status,
        (snapshot.recurring_pre_tax_amount, snapshot.currency),
        scheduled_cart(snapshot),
        snapshot.cancel_at_next_billing_date,
        snapshot.next_billing_date and snapshot.next_billing_date.isoformat(),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def is_increase(steps: Steps) -> bool:
    """True if more seats of any type are bought. Such a change must be paid before it counts."""
    return any(step.is_more for step in steps.values())


def moves_billing_date(preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> bool:
    """True if the change starts a new billing period today. A change at the renewal does not.

    Only the days are compared, because the provider computes the time of day differently for a new period.
    """
    after, before = preview.next_billing_date, snapshot.next_billing_date
    if when is When.AT_RENEWAL or after is None:
        return False
    return before is None or _utc_day(after) != _utc_day(before)


@dataclass(frozen=True, slots=True)
class ProratedDays:
    """The days that a proration is for, of all days of the billing period."""

    days: int
    of: int


def prorated_days(preview: Preview, snapshot: SubscriptionSnapshot) -> ProratedDays | None:
    """The unused days of the current billing period, as the provider prorates them; None if no line is
    prorated, or the period is not known.

    Lines that credit the old cart count first: those of another product may be shares of another period.
    """
    start, end = snapshot.previous_billing_date, snapshot.next_billing_date
    shares = [line.share for line in preview.lines if line.share is not None]
    credited = [-share for share in shares if -1 < share < 0]
    is_same_product = preview.cart_after.product_id == snapshot.product_id
    charged = [share for share in shares if 0 < share < 1] if is_same_product else []
    share = next(iter((*credited, *charged)), None)
    if share is None or start is None or end is None or end <= start:
        return None
    days = max(round((end - start) / timedelta(days=1)), 1)
    return ProratedDays(round(share * days), days)


def costs_more(preview: Preview, snapshot: SubscriptionSnapshot) -> bool:
    """True unless each period costs no more than now, and is as long as now."""
    before, after = renewal_of(snapshot), preview.renewal
    if before is None or after is None or before.currency != after.currency:
        return True
    period = (snapshot.billing_interval, snapshot.billing_count)
    return after.amount > before.amount or period != (preview.billing_interval, preview.billing_count)


def renewal_of(snapshot: SubscriptionSnapshot) -> Money | None:
    """The present price of each period, before tax; None if the provider does not state it."""
    amount, currency = snapshot.recurring_pre_tax_amount, snapshot.currency
    return None if amount is None or currency is None else Money(amount, currency)


def _utc_day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def shown(money: Money | None) -> dict[str, object] | None:
    """An amount as the API shows it: in the smallest unit of the currency, and as text."""
    return None if money is None else {"amount": money.amount, "currency": money.currency, "text": str(money)}
