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

    Carts with the same content are equal: add-ons are merged, sorted by id, and left out if they have no
    units.
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
        """The present cart. Raises `AddonsUnknown` if the snapshot does not list the add-ons."""
        if snapshot.addons is None:
            raise AddonsUnknown(snapshot.subscription_id)
        return cls(snapshot.product_id, snapshot.quantity, snapshot.addons)

    def units(self, addon_id: str) -> int:
        """Units of the add-on; 0 if it is not in the cart."""
        return next((addon.quantity for addon in self.addons if addon.addon_id == addon_id), 0)
