"""Plans: a change of a subscription's cart, and the provider's preview of what it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The provider's preview of a plan; nothing in it is computed here.

    `charged_now` is the amount to pay at once, including tax and after credit; `tax` is the tax in it.
    `credit` is added to the customer's balance at the provider, or used if negative; None if the balance
    stays the same. `renewal` is the price of each later period before tax, first due on `next_billing_date`.
    """

    charged_now: Money
    tax: Money | None
    credit: Money | None
    effective_at: datetime | None
    renewal: Money | None
    next_billing_date: datetime | None
    cart_after: Cart

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
