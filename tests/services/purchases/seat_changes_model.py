"""What should have become of an account's seat changes: predicted from what the provider has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from simulator.world import World
from tests.simulated import units

Cart = Mapping[str, int]

INCLUDED = {"pdt_team": 5, "pdt_large": 8}
SIZES = {"adn_seat": 1, "adn_pack_10": 10, **INCLUDED}
PRICES = {"adn_seat": 1500, "adn_pack_10": 12000}
SECOND_LOOK = timedelta(minutes=1)


def seats_of(cart: Cart) -> int:
    """The full seats that a cart gives, in which the product is one of the units."""
    return sum(SIZES.get(name, 0) * count for name, count in cart.items())


def price_of(cart: Cart) -> int:
    """What the full seats of a cart cost a month beside the product, in cents."""
    return sum(PRICES.get(name, 0) * count for name, count in cart.items())


def cheapest(seats: int, product_id: str = "pdt_team") -> tuple[int, int]:
    """The lowest price of at least so many full seats beside the product, and how many one gets for it."""
    single = max(seats - INCLUDED[product_id], 0)
    carts = (
        {product_id: 1, "adn_pack_10": packs, "adn_seat": max(single - 10 * packs, 0)}
        for packs in range(single // 10 + 2)
    )
    return min((price_of(cart), seats_of(cart)) for cart in carts)


def rest_of(cart: Cart) -> Cart:
    """What gives no full seats."""
    return {name: count for name, count in cart.items() if name not in SIZES}


@dataclass
class Change:
    """One that was previewed, and how it should stand."""

    change_id: str
    token: str
    cart: Cart
    before: int
    after: int
    release: Sequence[str]
    is_charged: bool
    at_renewal: bool
    facts: object
    expires_at: datetime
    state: str = "previewed"
    may_return: bool = False
    missed_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.state in {"submitted", "scheduled"}


@dataclass
class Model:
    """One subscription at the provider, and what the service should show after its last sync."""

    world: World
    subscription_id: str
    now: datetime
    known: int = 0
    people: set[str] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)
    sent: list[Change] = field(default_factory=list)

    # The provider.

    @property
    def cart(self) -> Cart:
        return {self.product_id: 1, **units(self.world, self.subscription_id)}

    @property
    def product_id(self) -> str:
        return self.world.state.get(self.subscription_id).product_id

    @property
    def included(self) -> int:
        return INCLUDED[self.product_id]

    @property
    def planned(self) -> Cart | None:
        """The cart that waits for the renewal."""
        change = self.world.state.get(self.subscription_id).scheduled_change
        if change is None:
            return None
        return {change.product_id: 1, **{one.addon_id: one.quantity for one in change.addons}}

    @property
    def facts(self) -> object:
        """What a preview is made of."""
        kept = self.world.state.get(self.subscription_id)
        return dict(self.cart), self.planned, kept.next_billing_date

    @property
    def is_busy(self) -> bool:
        """Whether the provider would take another change."""
        waits = self.world.state.get(self.subscription_id).pending_change is not None
        return waits or self.planned is not None

    # The service.

    def sync(self, *, is_second: bool = False) -> None:
        """Syncs decide. A scheduled change that one sync does not show is checked once more."""
        self.known = seats_of(self.cart)
        for place, one in enumerate(reversed(self.sent)):
            if not (one.is_open or (place == 0 and one.may_return)):
                continue
            if one.cart == self.cart:
                # One that was believed to have failed or been cancelled releases nobody.
                self.people -= set(one.release) if one.is_open else set()
                one.state, one.may_return = "applied", False
            elif one.cart == self.planned:
                one.state, one.may_return, one.missed_at = "scheduled", False, None
            elif one.state == "scheduled":
                self._miss(one, is_second=is_second)

    def _miss(self, one: Change, *, is_second: bool) -> None:
        if one.missed_at is None:
            one.missed_at = self.now
        elif one.missed_at < self.now and (is_second or self.now - one.missed_at >= SECOND_LOOK):
            one.state, one.may_return = "cancelled", True

    def refuses_preview(self, seats: int, product_id: str | None, *, names_people: bool) -> str | None:
        self.sync()
        target = product_id or self.product_id
        if seats < INCLUDED[target]:
            return "BelowMinimum"
        price, bought = cheapest(seats, target)
        is_same = target == self.product_id
        if is_same and (seats == self.known or (price_of(self.cart), self.known) == (price, bought)):
            return "NothingToChange"
        if self.is_busy:
            return "ChangeRefused"
        if not names_people and bought < self.known and len(self.people) > bought:
            return "SeatsInUse"
        return None

    def refuses_to_send(self, one: Change) -> str | None:
        """Why a preview is not confirmed; nothing is sent then."""
        if one.state == "expired":
            return "PreviewExpired"
        self.sync()
        if self.now >= one.expires_at:
            one.state = "expired"
            return "PreviewExpired"
        if one.facts != self.facts:
            return "SubscriptionChanged"
        if any(other.state == "submitted" for other in self.sent):
            return "ChangeInFlight"
        if one.after < one.before and len(self.people - set(one.release)) > one.after:
            return "SeatsInUse"
        return "ReleaseRefused" if set(one.release) - self.people else None

    def is_outgrown(self, one: Change) -> bool:
        people = self.people - set(one.release)
        return one.after < one.before and len(people) > self.known + one.after - one.before

    def settle(self, one: Change) -> None:
        """A good while after it was sent, or missed."""
        if one.state == "submitted":
            self.sync(is_second=True)
            if one.state == "submitted" and not self.is_busy:
                one.state, one.may_return = "failed", True
        elif one.state == "scheduled" and one.missed_at is not None:
            self.sync(is_second=True)
