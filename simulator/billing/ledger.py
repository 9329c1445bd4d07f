"""The ledger: every charge, and the credit each customer has left."""

from __future__ import annotations

from collections import Counter

from simulator.billing.charge import Charge, Result

KEPT = 100_000


class Ledger:
    """The latest charges by payment id, oldest first.

    Not locked: the lock of the subscriptions guards it, since charges and carts change together.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._charges: dict[str, Charge] = {}
        self._credits: Counter[tuple[str, str]] = Counter()

    def enter(self, charge: Charge) -> None:
        """A new charge, or what became of one that was processing. Credit never falls below nothing."""
        self._charges[charge.payment_id] = charge
        if charge.result == Result.SUCCEEDED:
            purse = charge.customer_id, charge.currency
            self._credits[purse] = max(0, self._credits[purse] + charge.customer_credits)
        if len(self._charges) > KEPT:
            del self._charges[next(iter(self._charges))]

    def balance(self, customer_id: str, currency: str) -> int:
        """In the smallest unit of the currency."""
        return self._credits[customer_id, currency]

    def charges(self, subscription_id: str | None = None) -> list[Charge]:
        return [
            charge for charge in self._charges.values() if subscription_id in {None, charge.subscription_id}
        ]

    def credits(self) -> list[dict[str, object]]:
        """Whoever has any, by customer and currency."""
        return [
            {"customer_id": customer_id, "currency": currency, "balance": balance}
            for (customer_id, currency), balance in self._credits.items()
            if balance
        ]
