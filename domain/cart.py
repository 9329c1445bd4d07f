"""A cart: everything that a subscription buys."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

from domain.errors import AddonsUnknown
from domain.snapshot import AddonQuantity, SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class Cart:
    """Everything that a subscription buys: the product, its quantity, and units of add-ons.

    Two carts that buy the same are equal: an add-on stands once, none with no units, in the order of ids.
    """

    product_id: str
    quantity: int
    addons: tuple[AddonQuantity, ...] = ()

    def __post_init__(self) -> None:
        units: Counter[str] = Counter()
        for addon in self.addons:
            units[addon.addon_id] += addon.quantity
        canonical = tuple(AddonQuantity(name, count) for name, count in sorted(units.items()) if count)
        object.__setattr__(self, "addons", canonical)

    @classmethod
    def of(cls, snapshot: SubscriptionSnapshot) -> Self:
        """What the subscription buys now; raises AddonsUnknown where the snapshot does not say."""
        if snapshot.addons is None:
            raise AddonsUnknown(snapshot.subscription_id)
        return cls(snapshot.product_id, snapshot.quantity, snapshot.addons)

    def units(self, addon_id: str) -> int:
        """Units of the add-on, 0 where it is not in the cart."""
        return next((addon.quantity for addon in self.addons if addon.addon_id == addon_id), 0)
