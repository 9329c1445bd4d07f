"""What a customer owes: amounts, the tax on them, and the credit they use up or leave behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from simulator.billing.charge import Charge, Reason, Result
from simulator.billing.subscription import Subscription
from simulator.billing.tax import tax_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """In the smallest unit of the subscription's currency; `total` includes `tax` and is never negative.

    `customer_credits` is what the balance moves by: negative is used, positive is granted.
    """

    total: int
    tax: int
    customer_credits: int

    @property
    def is_nothing(self) -> bool:
        """Neither money nor credit moves."""
        return not self.total and not self.customer_credits

    def charge(
        self, subscription: Subscription, now: datetime, *, payment_id: str, reason: Reason, result: Result
    ) -> Charge:
        """Carries the subscription's metadata."""
        return Charge(
            payment_id=payment_id,
            subscription_id=subscription.subscription_id,
            customer_id=subscription.customer.customer_id,
            currency=subscription.currency,
            amount=self.total,
            tax=self.tax,
            customer_credits=self.customer_credits,
            reason=reason,
            result=result,
            metadata=subscription.metadata,
            created_at=now,
        )


def due(amounts: Iterable[int], subscription: Subscription, balance: int) -> Due:
    """The customer's credit is used first; a sum below nothing becomes credit."""
    priced = list(amounts)
    is_included, country = subscription.tax_inclusive, subscription.billing.country
    tax = sum(tax_on(amount, country, is_included=is_included) for amount in priced)
    owed = sum(priced) if is_included else sum(priced) + tax
    used = min(owed, balance)
    return Due(total=owed - used, tax=tax, customer_credits=-used)
