"""What a customer owes: amounts, tax, and the credit used or granted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from simulator.billing.charge import Charge, Reason, Result
from simulator.billing.subscription import Subscription
from simulator.billing.tax import tax_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An amount due, in the smallest unit of the subscription's currency. `total` includes `tax` and is not
    negative.

    `customer_credits` is the change of the customer's credit: negative if used, positive if granted.
    """

    total: int
    tax: int
    customer_credits: int

    @property
    def is_nothing(self) -> bool:
        """Whether neither money nor credit changes hands."""
        return not self.total and not self.customer_credits

    def charge(
        self, subscription: Subscription, now: datetime, *, payment_id: str, reason: Reason, result: Result
    ) -> Charge:
        """The charge for this amount, with the subscription's metadata."""
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
    """The amount due for these amounts. The customer's credit (`balance`) is used first; a negative sum
    becomes credit.
    """
    priced = list(amounts)
    is_included, country = subscription.tax_inclusive, subscription.billing.country
    tax = sum(tax_on(amount, country, is_included=is_included) for amount in priced)
    owed = sum(priced) if is_included else sum(priced) + tax
    used = min(owed, balance)
    return Due(total=owed - used, tax=tax, customer_credits=-used)
