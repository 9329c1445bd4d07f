"""Change-plan requests: the body, and the checks that refuse it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from simulator.billing.catalog import Catalog
from simulator.billing.subscription import AddonUnits, Cart, Metadata, Status, Subscription
from simulator.refusal import Refusal

Units = Annotated[int, Field(ge=1, le=2**31 - 1)]
Moment = Literal["immediately", "next_billing_date"]
ProrationMode = Literal[
    "prorated_immediately",
    "prorated_immediately_keep_cycle",
    "difference_immediately",
    "full_immediately",
    "do_not_bill",
]
KEEPS_CYCLE = frozenset({"prorated_immediately_keep_cycle", "do_not_bill"})


@dataclass(frozen=True, slots=True)
class AttachedAddon:
    addon_id: str
    quantity: Units


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """The body, with absolute quantities. `addons` is the whole list; leaving it out removes all add-ons."""

    product_id: str
    quantity: Units
    proration_billing_mode: ProrationMode
    addons: tuple[AttachedAddon, ...] | None = None
    effective_at: Moment = "immediately"
    on_payment_failure: Literal["prevent_change", "apply_change"] | None = None
    cancel_scheduled_change_plan: bool = False
    collect_via_payment_link: bool = False
    metadata: Metadata | None = None
    return_url: str | None = None

    @property
    def cart(self) -> Cart:
        return cart_of(self.product_id, self.quantity, self.addons)

    @property
    def is_scheduled(self) -> bool:
        return self.effective_at == "next_billing_date"

    @property
    def prevents_change(self) -> bool:
        """Whether a failed payment prevents the change. The default of the business is `apply_change`."""
        return self.on_payment_failure == "prevent_change"

    @property
    def keeps_cycle(self) -> bool:
        return self.proration_billing_mode in KEEPS_CYCLE


def cart_of(product_id: str, quantity: int, addons: tuple[AttachedAddon, ...] | None) -> Cart:
    """The cart of a request. An absent list of add-ons is an empty one."""
    units = tuple(AddonUnits(addon.addon_id, addon.quantity) for addon in addons or ())
    return Cart(product_id=product_id, quantity=quantity, addons=units)


def check_plan_change(subscription: Subscription, request: PlanRequest, catalog: Catalog) -> None:
    """Raise the `Refusal` that the provider would respond with, if any."""
    check_collection(request)
    check_subscription(subscription)
    check_cart(request.cart, catalog)
    check_product(subscription, request.cart, catalog)
    if subscription.pending_change:
        raise Refusal.conflict("PENDING_PLAN_CHANGE_EXISTS", "An earlier plan change waits for its payment")
    if subscription.scheduled_change and not request.cancel_scheduled_change_plan:
        raise Refusal.conflict("SCHEDULED_PLAN_CHANGE_EXISTS", "A plan change is already scheduled")


def check_scheduled_mode(request: PlanRequest) -> None:
    """Only `full_immediately` can be scheduled. A knob turns this on: the provider's error page documents
    the rule, but its newer guide does not.
    """
    if request.is_scheduled and request.proration_billing_mode != "full_immediately":
        raise Refusal.unprocessable(
            "INVALID_PRORATION_MODE_WITH_NEXT_BILLING_DATE", "Only full_immediately can be scheduled"
        )


def check_collection(request: PlanRequest) -> None:
    """Refuse payment links, which this business cannot use, and a return URL, which needs one."""
    if request.collect_via_payment_link:
        raise Refusal.unprocessable(
            "INVALID_REQUEST_BODY", "collect_via_payment_link: this business cannot collect by payment link"
        )
    if request.return_url is not None:
        raise Refusal.unprocessable("INVALID_REQUEST_BODY", "return_url: needs collect_via_payment_link")


def check_subscription(subscription: Subscription) -> None:
    """Refuse the change unless the subscription is active, not on demand, and not about to be cancelled."""
    if subscription.on_demand:
        raise Refusal.unprocessable(
            "ON_DEMAND_PLAN_CHANGE_NOT_SUPPORTED", "On-demand subscriptions cannot change plans"
        )
    if subscription.status != Status.ACTIVE:
        raise Refusal.unprocessable(
            "INACTIVE_SUBSCRIPTION_PLAN_CHANGE_NOT_SUPPORTED", f"The subscription is {subscription.status}"
        )
    if subscription.cancel_at_next_billing_date:
        raise Refusal.unprocessable(
            "PLAN_CHANGE_NOT_ALLOWED_FOR_SCHEDULED_CANCELLATION", "A cancellation is scheduled"
        )


def check_product(subscription: Subscription, cart: Cart, catalog: Catalog) -> None:
    """Refuse a product that is not sold by subscription, and a new one in another currency: what the provider
    would charge for that is not documented.
    """
    product = catalog.product(cart.product_id)
    if not product.is_recurring:
        raise Refusal.unprocessable("INVALID_REQUEST_BODY", "product_id: not a subscription product")
    if cart.product_id != subscription.product_id and product.currency != subscription.currency:
        raise Refusal.unprocessable(
            "INVALID_REQUEST_BODY",
            f"product_id: sold in {product.currency}, the subscription is in {subscription.currency}",
        )


def check_cart(cart: Cart, catalog: Catalog) -> None:
    """Refuse the cart unless the product exists and sells every add-on, each listed once."""
    product = catalog.product(cart.product_id)
    times = Counter(units.addon_id for units in cart.addons)
    if repeated := sorted(addon_id for addon_id, count in times.items() if count > 1):
        raise Refusal.unprocessable(
            "DUPLICATE_ADDON_IDS_IN_REQUEST", f"Repeated add-ons: {', '.join(repeated)}"
        )
    if missing := sorted(times.keys() - set(product.addons)):
        raise Refusal.unprocessable("MISSING_ADDON_IDS", f"Unknown add-ons: {', '.join(missing)}")
