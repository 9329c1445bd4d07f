"""Seat arithmetic: the seats that a subscription bought, and those that an account may use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain import findings
from domain.cart import Cart
from domain.catalog.model import Catalog, Contract, Product
from domain.findings import MOST_SEATS, MOST_UNITS, Finding, Uncountable
from domain.seat_limit import SeatLimit, Unlimited, add, at_least
from domain.snapshot import AddonQuantity, SubscriptionSnapshot
from domain.statuses import Phase, Standing, SubscriptionStanding


@dataclass(frozen=True, slots=True)
class Seats:
    """Seats of one type, by where they come from. `included` holds the seats per unit as well."""

    included: SeatLimit = 0
    addon: int = 0
    contract: SeatLimit = 0

    @property
    def purchased(self) -> SeatLimit:
        """Included + addon + contract; unlimited if one of them is."""
        return add(add(self.included, self.addon), self.contract)

    def __add__(self, other: Seats) -> Seats:
        """The sum, source by source."""
        return Seats(
            included=add(self.included, other.included),
            addon=self.addon + other.addon,
            contract=add(self.contract, other.contract),
        )


NO_SEATS: Final = Seats()


# What one subscription bought.


def subscription_seats(catalog: Catalog, snapshot: SubscriptionSnapshot) -> Mapping[str, Seats]:
    """The seats the subscription bought, for each seat type its product sells; its status is ignored.

    `included` is included + per unit x quantity, `addon` the sum over the add-ons of size x units. Raises
    `Uncountable` with all findings if anything is unknown: unknown is never counted as zero.
    """
    product = catalog.product(snapshot.product_id)
    stopping = (*_status_findings(catalog, snapshot), *_cart_findings(product, snapshot))
    if product is None or stopping:
        raise Uncountable(stopping)
    return _seats(product, snapshot.quantity, snapshot.addons or ())


def cart_seats(catalog: Catalog, cart: Cart) -> Mapping[str, Seats]:
    """The seats the cart would buy, for each seat type its product sells. Raises `Uncountable`."""
    product = catalog.product(cart.product_id)
    stopping = tuple(_cart_findings(product, cart))
    if product is None or stopping:
        raise Uncountable(stopping)
    return _seats(product, cart.quantity, cart.addons)


def _seats(product: Product, quantity: int, addons: Iterable[AddonQuantity]) -> Mapping[str, Seats]:
    units = _units(addons)
    seats = {seat_type: _bought(product, seat_type, quantity, units) for seat_type in product.seat_types}
    if absurd := tuple(_total_findings(seats)):
        raise Uncountable(absurd)
    return seats


def range_findings(product: Product, seats: Mapping[str, Seats]) -> tuple[Finding, ...]:
    """Findings if the purchase is outside the product's minimum and maximum. All paid seats count anyway."""
    below = (t for t, minimum in product.minimum.items() if not at_least(_purchased(seats, t), minimum))
    above = (t for t, maximum in product.maximum.items() if not at_least(maximum, _purchased(seats, t)))
    return (
        *(findings.below_minimum(product, seat_type, _purchased(seats, seat_type)) for seat_type in below),
        *(findings.above_maximum(product, seat_type, _purchased(seats, seat_type)) for seat_type in above),
    )


def within_paid(cart: Mapping[str, Seats], paid: Mapping[str, Seats]) -> Mapping[str, Seats]:
    """The seats in the cart that were paid for: of each type at most as many as in `paid`."""
    return {
        seat_type: seats
        if at_least(_purchased(paid, seat_type), seats.purchased)
        else paid.get(seat_type, NO_SEATS)
        for seat_type, seats in cart.items()
    }


def growth_findings(cart: Mapping[str, Seats], counted: Mapping[str, Seats]) -> tuple[Finding, ...]:
    """Findings for the seat types of which the cart has more seats than count."""
    return tuple(
        findings.unpaid_growth(seat_type, seats.purchased, _purchased(counted, seat_type))
        for seat_type, seats in cart.items()
        if not at_least(_purchased(counted, seat_type), seats.purchased)
    )


def _purchased(seats: Mapping[str, Seats], seat_type: str) -> SeatLimit:
    return seats.get(seat_type, NO_SEATS).purchased


def _bought(product: Product, seat_type: str, quantity: int, units: Mapping[str, int]) -> Seats:
    return Seats(
        included=add(product.included.get(seat_type, 0), product.per_unit.get(seat_type, 0) * quantity),
        addon=sum(product.addons[addon_id].get(seat_type, 0) * count for addon_id, count in units.items()),
    )


def _units(addons: Iterable[AddonQuantity]) -> Mapping[str, int]:
    """Units by add-on. If an add-on is listed twice, its units are added."""
    units: Counter[str] = Counter()
    for addon in addons:
        units[addon.addon_id] += addon.quantity
    return units


def _status_findings(catalog: Catalog, snapshot: SubscriptionSnapshot) -> Iterator[Finding]:
    if catalog.effect(snapshot.status) is None:
        yield findings.unknown_status(snapshot.status)


def _cart_findings(product: Product | None, bought: SubscriptionSnapshot | Cart) -> Iterator[Finding]:
    if product is None:
        yield findings.unknown_product(bought.product_id)
    if not _is_possible(bought.quantity):
        yield findings.absurd_quantity("quantity", bought.quantity)
    if bought.addons is None:
        yield findings.addons_missing()
        return
    for addon in bought.addons:
        if not _is_possible(addon.quantity):
            yield findings.absurd_quantity(findings.addon_field(addon.addon_id), addon.quantity)
    for addon_id, units in _units(bought.addons).items():
        if product is not None and addon_id not in product.addons:
            yield findings.unknown_addon(product, addon_id, units)


def _is_possible(quantity: int) -> bool:
    return 0 <= quantity <= MOST_UNITS


def _total_findings(seats: Mapping[str, Seats]) -> Iterator[Finding]:
    for seat_type, bought in seats.items():
        included = 0 if isinstance(bought.included, Unlimited) else bought.included
        if included + bought.addon > MOST_SEATS:
            yield findings.absurd_total(seat_type, included + bought.addon)


# What an account may use.


@dataclass(frozen=True, slots=True)
class SubscriptionShare:
    """The seats that one subscription bought, and whether they count now."""

    seats: Mapping[str, Seats]
    standing: SubscriptionStanding


@dataclass(frozen=True, slots=True)
class AccountSeats:
    """The seats that an account may use, and its standing.

    `deadline` is when the first seats in a payment grace period stop counting. `changes_at` is the next time
    at which anything here changes without an event: that deadline, or the start or end of a contract.
    """

    seats: Mapping[str, Seats]
    standing: Standing
    deadline: datetime | None = None
    changes_at: datetime | None = None

    def of(self, seat_type: str) -> Seats:
        """The account's seats of one type; `NO_SEATS` if nothing gives any."""
        return self.seats.get(seat_type, NO_SEATS)


def account_seats(
    catalog: Catalog, account_id: str, subscriptions: Sequence[SubscriptionShare], *, now: datetime
) -> AccountSeats:
    """The sum of all seats that count. If none count: the seats of suspended subscriptions; if there are none
    either: the free seats.

    A subscription that has not begun does not count, and the account still has its free seats. A seat type
    that only subscriptions without counting seats sell is listed with no seats.
    """
    contracts = catalog.contracts_of(account_id)
    standing, sources = _standing_and_sources(catalog, contracts, subscriptions, now)
    deadline = min((share.standing.until for share in subscriptions if share.standing.until), default=None)
    boundaries = [moment for contract in contracts for moment in (contract.starts_at, contract.ends_at)]
    return AccountSeats(
        seats=_total(sources, listed=[seat_type for share in subscriptions for seat_type in share.seats]),
        standing=standing,
        deadline=deadline,
        changes_at=min(
            (moment for moment in (*boundaries, deadline) if moment and moment > now), default=None
        ),
    )


def _standing_and_sources(
    catalog: Catalog, contracts: Sequence[Contract], subscriptions: Sequence[SubscriptionShare], now: datetime
) -> tuple[Standing, Sequence[Mapping[str, Seats]]]:
    phases = {share.standing.phase for share in subscriptions}
    counting = [
        *(share.seats for share in subscriptions if share.standing.counts),
        *(_contract_seats(contract) for contract in contracts if contract.is_in_term(now)),
    ]
    if counting:
        return (Standing.GRACE if Phase.GRACE in phases else Standing.OK), counting
    if Phase.SUSPENDED in phases:
        return Standing.SUSPENDED, [s.seats for s in subscriptions if s.standing.phase is Phase.SUSPENDED]
    if catalog.free is not None:
        return Standing.OK, [{seat_type: Seats(included=limit) for seat_type, limit in catalog.free.items()}]
    is_over = Phase.ENDED in phases or any(contract.is_over(now) for contract in contracts)
    return (Standing.ENDED if is_over else Standing.OK), []


def _contract_seats(contract: Contract) -> Mapping[str, Seats]:
    return {seat_type: Seats(contract=limit) for seat_type, limit in contract.seats.items()}


def _total(sources: Iterable[Mapping[str, Seats]], *, listed: Iterable[str]) -> Mapping[str, Seats]:
    total = dict.fromkeys(listed, NO_SEATS)
    for source in sources:
        for seat_type, seats in source.items():
            total[seat_type] = total.get(seat_type, NO_SEATS) + seats
    return total
