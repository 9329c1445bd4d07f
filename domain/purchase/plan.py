"""A change of a subscription: the cart that is wanted, and what the provider says it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.billing_terms import Proration, When
from domain.cart import Cart
from domain.purchase.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change to ask the provider for: the whole cart as it is to be, when, and on which terms.

    With `prevent_on_failure` nothing changes unless it is paid. Without it the provider's own setting
    decides; as it comes, the change stands and the subscription goes on hold.
    """

    subscription_id: str
    cart: Cart
    when: When
    proration: Proration
    prevent_on_failure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the provider says a plan would do; nothing in it is worked out here.

    `charged_now` is what is to be paid at once, tax included, after credit; `tax` the part of it that is
    tax. `credit` is what the customer's balance at the provider gains, or loses if it is negative; None
    where it stays as it is. `renewal` is what each period costs from then on, before tax, first on
    `next_billing_date`.
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
