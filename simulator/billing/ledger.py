"""The ledger: all charges, and the credit of each customer."""

from __future__ import annotations

from collections import Counter

from simulator.billing.charge import Charge, Result

KEPT = 100_000


class Ledger:
    """The latest charges by payment id, oldest first.

    It has no lock: the lock of the subscriptions protects it, since charges and carts change together.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._charges: dict[str, Charge] = {}
        self._credits: Counter[tuple[str, str]] = Counter()

    def enter(self, charge: Charge) -> None:
        """Store a new charge, or the result of one that was processing. Credit does not fall below zero."""
        self._charges[charge.payment_id] = charge
        if charge.result == Result.SUCCEEDED:
            key = charge.customer_id, charge.currency
            self._credits[key] = max(0, self._credits[key] + charge.customer_credits)
        if len(self._charges) > KEPT:
            del self._charges[next(iter(self._charges))]

    def balance(self, customer_id: str, currency: str) -> int:
        """The customer's credit, in the smallest unit of the currency."""
        return self._credits[customer_id, currency]

    def charges(self, subscription_id: str | None = None) -> list[Charge]:
        return [
            charge for charge in self._charges.values() if subscription_id in {None, charge.subscription_id}
        ]

    def credits(self) -> list[dict[str, object]]:
        """All credit, by customer and currency."""
        return [
            {"customer_id": customer_id, "currency": currency, "balance": balance}
            for (customer_id, currency), balance in self._credits.items()
            if balance
        ]
