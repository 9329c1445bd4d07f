"""Plans: a change of a subscription's cart, and the provider's preview of what it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.billing_terms import Proration, When
from domain.cart import Cart
from domain.purchase.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change to send to the provider: the whole new cart, when it applies, and how it is billed.

    With `prevent_on_failure` nothing changes unless the payment succeeds. Without it the provider's setting
    decides; by default the change is made and the subscription goes on hold.
    """

    subscription_id: str
    cart: Cart
    when: When
    proration: Proration
    prevent_on_failure: bool


class LineKind(StrEnum):
    """What a line of a preview charges or credits."""

    PRODUCT = "product"
    ADDON = "addon"
    USAGE = "usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewLine:
    """A line of the provider's preview. What the provider does not state is None.

    `share` is the part of a billing period that the line is for: 1 is a whole one, and a negative share is
    credited. The provider states no amount per line.
    """

    kind: LineKind
    name: str | None
    quantity: int | None
    unit_price: Money | None
    share: float | None
    tax: Money | None
    tax_inclusive: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The provider's preview of a plan; nothing in it is computed here.

    `charged_now` is the amount to pay at once, including tax and after credit; `tax` is the tax in it.
    `credit` is added to the customer's balance at the provider, or used if negative; None if the balance
    stays the same. `renewal` is the price of each later period before tax, first due on `next_billing_date`;
    a period is `billing_count` times `billing_interval`. `lines` are what the charge consists of.
    """

    charged_now: Money
    tax: Money | None
    credit: Money | None
    effective_at: datetime | None
    renewal: Money | None
    next_billing_date: datetime | None
    cart_after: Cart
    billing_interval: str | None = None
    billing_count: int | None = None
    lines: tuple[PreviewLine, ...] = ()

    @property
    def currency(self) -> str:
        """ISO 4217, that of the charge."""
        return self.charged_now.currency


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """Who is to pay: a customer the provider knows by id, or a new one by e-mail address."""

    customer_id: str | None = None
    email: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Checkout:
    """A page of the provider on which a cart is paid; the subscription is there once it has been."""

    session_id: str
    url: str
