"""Seat changes: from a wish for so many seats to a plan for the provider, and to words for a customer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final

from seats.money import Money
from seats.plan import Cart, Plan, Preview, Proration, When
from seats.snapshot import AddonQuantity, SubscriptionSnapshot

_INTERVALS: Final = {"Day": "day", "Week": "week", "Month": "month", "Year": "year"}


@dataclass(frozen=True, slots=True)
class SeatStep:
    """So many purchased seats of one type before and after a change."""

    before: int
    after: int

    @property
    def difference(self) -> int:
        return self.after - self.before


Steps = Mapping[str, SeatStep]


class Trace(StrEnum):
    """What a snapshot shows of a plan that was sent."""

    APPLIED = "applied"
    SCHEDULED = "scheduled"
    NONE = "none"


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as it is kept."""
    return {
        "subscription_id": plan.subscription_id,
        "cart": cart_to_json(plan.cart),
        "when": plan.when.value,
        "proration": plan.proration.value,
        "prevent_on_failure": plan.prevent_on_failure,
    }


def plan_from_json(kept: Mapping[str, Any]) -> Plan:
    """The plan that `plan_to_json` made it of."""
    cart = kept["cart"]
    addons = tuple(AddonQuantity(one["addon_id"], one["quantity"]) for one in cart["addons"])
    return Plan(
        subscription_id=kept["subscription_id"],
        cart=Cart(cart["product_id"], cart["quantity"], addons),
        when=When(kept["when"]),
        proration=Proration(kept["proration"]),
        prevent_on_failure=kept["prevent_on_failure"],
    )


def cart_to_json(cart: Cart) -> dict[str, Any]:
    """The cart as it is kept, and as the API shows it."""
    addons = [{"addon_id": one.addon_id, "quantity": one.quantity} for one in cart.addons]
    return {"product_id": cart.product_id, "quantity": cart.quantity, "addons": addons}


def trace_of(plan: Plan, snapshot: SubscriptionSnapshot) -> Trace:
    """Whether the subscription is as planned, or will be."""
    if snapshot.addons is not None and Cart.of(snapshot) == plan.cart:
        return Trace.APPLIED
    return Trace.SCHEDULED if scheduled_cart(snapshot) == plan.cart else Trace.NONE


def scheduled_cart(snapshot: SubscriptionSnapshot) -> Cart | None:
    """What the subscription will buy from its renewal on, if that is not what it buys now."""
    change = snapshot.scheduled_change
    return None if change is None else Cart(change.product_id, change.quantity, change.addons)


def basis(snapshot: SubscriptionSnapshot) -> str:
    """What a preview was made of, in short: with another one it is no longer true."""
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
    """Whether more seats of any type are bought, which has to be paid before it counts."""
    return any(step.difference > 0 for step in steps.values())


def moves_billing_date(preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> bool:
    """Whether the change begins a new period today; one at the renewal does what a renewal does.

    Days are compared: the provider states the moment of a new period otherwise than that of a running one.
    """
    after, before = preview.next_billing_date, snapshot.next_billing_date
    if when is When.AT_RENEWAL or after is None:
        return False
    return before is None or _utc_day(after) != _utc_day(before)


def renewal_of(snapshot: SubscriptionSnapshot) -> Money | None:
    """What each period costs now, before tax; None if the provider does not say."""
    amount, currency = snapshot.recurring_pre_tax_amount, snapshot.currency
    return None if amount is None or currency is None else Money(amount, currency)


def sentence(steps: Steps, preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    """What a customer should read before they agree."""
    return " ".join(
        part
        for part in (
            _what(steps, preview, snapshot, when),
            _afterwards(preview, snapshot, when),
            _dearer(steps, preview, snapshot),
            _moved(preview, snapshot, when),
        )
        if part
    )


def _what(steps: Steps, preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    added = _counted({name: step.difference for name, step in steps.items() if step.difference > 0})
    less = _counted({name: -step.difference for name, step in steps.items() if step.difference < 0})
    wishes = [f"adding {added}"] if added else []
    wishes += [f"giving back {less}"] if less else []
    wish = " and ".join(wishes) or "buying the same seats by other add-ons"
    if when is When.AT_RENEWAL:
        return (
            f"{_upper(wish)} at the renewal{_on(snapshot.next_billing_date)} costs {_price(preview)} today;"
        )
    return f"{_upper(wish)} costs {_price(preview)} today;"


def _price(preview: Preview) -> str:
    credit = preview.credit
    used = f" and {Money(-credit.amount, credit.currency)} of credit" if credit and credit.amount < 0 else ""
    if preview.charged_now.amount <= 0:
        gained = f"nothing and credits {credit}" if credit and credit.amount > 0 else "nothing"
        return used.removeprefix(" and ") or gained
    has_tax = preview.tax is not None and preview.tax.amount > 0
    return f"{preview.charged_now}{used}{', tax included,' if has_tax else ''}"


def _afterwards(preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    if preview.renewal is None:
        return "the price of later periods is not known."
    first = snapshot.next_billing_date if when is When.AT_RENEWAL else preview.next_billing_date
    start = f" from {_day(first)}" if first is not None else ""
    return f"then {preview.renewal} {_every(snapshot)} before tax{start}."


def _dearer(steps: Steps, preview: Preview, snapshot: SubscriptionSnapshot) -> str:
    """A warning where fewer seats cost more, as the provider's prices may have it."""
    before, after = renewal_of(snapshot), preview.renewal
    if is_increase(steps) or before is None or after is None or before.currency != after.currency:
        return ""
    more = after.amount - before.amount
    return f"That is {Money(more, after.currency)} more than now, {before}." if more > 0 else ""


def _moved(preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    if not moves_billing_date(preview, snapshot, when) or preview.next_billing_date is None:
        return ""
    return f"The billing date moves to {_day(preview.next_billing_date)}."


def _every(snapshot: SubscriptionSnapshot) -> str:
    interval = _INTERVALS.get(snapshot.billing_interval or "")
    if interval is None or snapshot.billing_count is None:
        return "a period"
    return f"a {interval}" if snapshot.billing_count == 1 else f"every {snapshot.billing_count} {interval}s"


def _counted(differences: Mapping[str, int]) -> str:
    return " and ".join(
        f"{count} {name} seat{'' if count == 1 else 's'}" for name, count in sorted(differences.items())
    )


def _on(moment: datetime | None) -> str:
    return f" on {_day(moment)}" if moment is not None else ""


def _day(moment: datetime) -> str:
    return f"{_utc_day(moment).day} {_utc_day(moment):%b %Y}"


def _utc_day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def shown(money: Money | None) -> dict[str, object] | None:
    """An amount as the API shows it: the number in the smallest unit, and in words."""
    return None if money is None else {"amount": money.amount, "currency": money.currency, "text": str(money)}
