"""The provider's subscription, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from simulator.billing.charge import Charge

Metadata = Mapping[str, str | int | float | bool]
BRAND = "brnd_simulator"


class Status(StrEnum):
    """The statuses the provider documents."""

    PENDING = "pending"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    ON_HOLD = "on_hold"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class AddonUnits:
    """Units of one add-on in a cart."""

    addon_id: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cart:
    """A product, its quantity, and the whole list of add-ons."""

    product_id: str
    quantity: int = 1
    addons: tuple[AddonUnits, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """The customer who pays."""

    customer_id: str
    email: str = "billing@customer.example"
    name: str = "Customer"
    metadata: Metadata | None = None
    phone_number: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The billing address."""

    country: str = "PT"
    city: str | None = "Porto"
    state: str | None = None
    street: str | None = "Rua das Flores 18"
    zipcode: str | None = "4050-262"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelledBy:
    """Who cancelled, or scheduled the cancellation."""

    actor_type: str
    email: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledAddon:
    """An add-on in a scheduled change. Unlike in a cart, it has a name."""

    addon_id: str
    name: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledChange:
    """A plan change scheduled for the next billing date."""

    id: str
    product_id: str
    quantity: int
    addons: tuple[ScheduledAddon, ...]
    created_at: datetime
    effective_at: datetime
    product_name: str | None = None
    product_description: str | None = None

    @property
    def cart(self) -> Cart:
        addons = tuple(AddonUnits(addon.addon_id, addon.quantity) for addon in self.addons)
        return Cart(product_id=self.product_id, quantity=self.quantity, addons=addons)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingChange:
    """A plan change that is waiting for its payment, applied already or not. The API does not show it."""

    cart: Cart
    keeps_cycle: bool
    is_applied: bool
    charge: Charge


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription, with the provider's field names. `status` may be any text, for tests.

    The last four fields are the simulator's own: a plan change that is waiting for its payment; whether the
    scheduled change is dropped if it cannot be paid; `verbatim` fields, shown exactly as given; and `absent`
    fields, left out. The last two are for tests with malformed bodies.
    """

    subscription_id: str
    product_id: str
    customer: Customer
    created_at: datetime
    previous_billing_date: datetime
    next_billing_date: datetime
    expires_at: datetime | None = None
    brand_id: str = BRAND
    status: str = Status.ACTIVE
    quantity: int = 1
    addons: tuple[AddonUnits, ...] = ()
    currency: str = "EUR"
    recurring_pre_tax_amount: int = 0
    tax_inclusive: bool = False
    tax_id: str | None = None
    billing: Address = field(default_factory=Address)
    metadata: Metadata = field(default_factory=dict)
    on_demand: bool = False
    payment_frequency_count: int = 1
    payment_frequency_interval: str = "Month"
    subscription_period_count: int = 20
    subscription_period_interval: str = "Year"
    trial_period_days: int = 0
    trial_amount: int | None = None
    cancel_at_next_billing_date: bool = False
    cancelled_at: datetime | None = None
    cancelled_by: CancelledBy | None = None
    cancellation_comment: str | None = None
    cancellation_feedback: str | None = None
    paused_at: datetime | None = None
    past_due_ends_at: datetime | None = None
    scheduled_change: ScheduledChange | None = None
    has_payment_method: bool = True
    payment_method_id: str | None = None
    customer_business_name: str | None = None
    custom_field_responses: tuple[Mapping[str, str], ...] | None = None
    discount_id: str | None = None
    discount_cycles_remaining: int | None = None
    discounts: tuple[Mapping[str, object], ...] | None = None
    meters: tuple[Mapping[str, object], ...] = ()
    credit_entitlement_cart: tuple[Mapping[str, object], ...] = ()
    meter_credit_entitlement_cart: tuple[Mapping[str, object], ...] = ()

    pending_change: PendingChange | None = None
    prevents_scheduled_change: bool = False
    verbatim: Mapping[str, object] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    @property
    def cart(self) -> Cart:
        return Cart(product_id=self.product_id, quantity=self.quantity, addons=self.addons)
