"""Checkout sessions: a cart and a customer, waiting for payment."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Annotated

from pydantic import Field

from simulator.billing.catalog import Catalog
from simulator.billing.charge import Charge, Result
from simulator.billing.plan_request import AttachedAddon, Units, cart_of, check_cart
from simulator.billing.subscription import Address, Cart, Customer, Metadata
from simulator.refusal import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class CartItem:
    product_id: str
    quantity: Units
    addons: tuple[AttachedAddon, ...] | None = None

    @property
    def cart(self) -> Cart:
        return cart_of(self.product_id, self.quantity, self.addons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """A known customer by id, or a new one by e-mail address."""

    customer_id: str | None = None
    email: str | None = None
    name: str | None = None
    phone_number: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    mandate_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionData:
    on_demand: OnDemand | None = None
    trial_period_days: Annotated[int, Field(ge=0, le=10_000)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutRequest:
    """The fields of a request for a session that concern a subscription. Other fields are ignored."""

    product_cart: Annotated[tuple[CartItem, ...], Field(max_length=20)]
    billing_address: Address | None = None
    customer: Buyer | None = None
    customer_business_name: str | None = None
    metadata: Metadata | None = None
    return_url: str | None = None
    subscription_data: SubscriptionData | None = None
    tax_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    """A checkout session. `subscription_id` is the subscription that the last payment created."""

    session_id: str
    request: CheckoutRequest
    customer: Customer
    created_at: datetime
    subscription_id: str | None = None
    payment_id: str | None = None
    payment_status: Result | None = None

    def subscription_fields(self) -> dict[str, object]:
        """The fields of the subscription to create."""
        request, terms = self.request, self.request.subscription_data or SubscriptionData()
        (item,) = request.product_cart
        optional = {
            "billing": request.billing_address and asdict(request.billing_address),
            "customer_business_name": request.customer_business_name,
            "tax_id": request.tax_id,
        }
        return {
            **asdict(item.cart),
            "customer": asdict(self.customer),
            "metadata": request.metadata or {},
            "on_demand": terms.on_demand is not None,
            "trial_period_days": terms.trial_period_days or 0,
            **{name: value for name, value in optional.items() if value is not None},
        }

    def paid(self, subscription_id: str, result: Result, charge: Charge | None) -> CheckoutSession:
        """The session after a payment. `charge` is None for a free trial."""
        return replace(
            self,
            subscription_id=subscription_id,
            payment_id=charge.payment_id if charge else None,
            payment_status=result,
        )


def check_checkout(request: CheckoutRequest, catalog: Catalog) -> None:
    """Raise `Refusal` unless the request is for exactly one subscription product on sale. On-demand
    subscriptions cannot have add-ons.
    """
    if len(request.product_cart) != 1:
        raise Refusal.unprocessable(
            "INVALID_REQUEST_BODY", "product_cart: the simulator sells one subscription at a time"
        )
    cart = request.product_cart[0].cart
    check_cart(cart, catalog)
    if not catalog.product(cart.product_id).is_recurring:
        raise Refusal.unprocessable("INVALID_REQUEST_BODY", "product_cart: not a subscription product")
    terms = request.subscription_data
    if terms and terms.on_demand and cart.addons:
        raise Refusal.unprocessable(
            "ADDONS_NOT_ALLOWED_FOR_ON_DEMAND", "On-demand subscriptions take no add-ons"
        )
