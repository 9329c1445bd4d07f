"""Carts: find the cheapest cart that gives a requested number of seats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from domain.cart import Cart
from domain.catalog.model import Catalog, Product
from domain.counts import NO_SEATS, Seats, cart_seats
from domain.errors import AboveMaximum, BelowMinimum, NoWayToBuy, ProductNotFound, UnknownSeatType
from domain.policies import seat_words
from domain.purchase import packs
from domain.purchase.packs import MOST_AT_ONCE, Pack
from domain.seat_limit import Unlimited, at_least
from domain.snapshot import AddonQuantity

_ONE: Final = 1  # the lowest product quantity at the provider


def with_seats(
    catalog: Catalog,
    cart: Cart,
    wanted: Mapping[str, int],
    prices: Mapping[str, int] | None,
    *,
    at_most: Mapping[str, int] = MappingProxyType({}),
) -> Cart:
    """The cheapest cart with at least the wanted number of purchased seats of each wanted type. The rest of
    the cart stays unchanged.

    A pack may be cheaper than fewer single seats, so the cart may give more seats than wanted: at most the
    product's maximum, and at most `at_most` if such a cart exists. Among carts of the same price, the one
    with the fewest seats is chosen, then the one that exchanges the least. Types that already have the wanted
    number, and add-ons that give seats of several types, stay unchanged.

    `prices` maps the ids of add-ons and of the product to the price of one unit, in the smallest unit of one
    currency. Only add-ons with a price are added. None means that prices are unknown: all add-ons may be
    added, and single seats are preferred to packs.

    Raises `BelowMinimum`, `AboveMaximum`, `NoWayToBuy`, `UnknownSeatType` and `Uncountable`.
    """
    seats = cart_seats(catalog, cart)
    product = catalog.products[cart.product_id]
    change: dict[str, int] = {}
    for seat_type, number in wanted.items():
        for_type = tuple(_packs(product, cart, seat_type, prices))
        difference = _difference(product, seat_type, seats.get(seat_type, NO_SEATS), number, for_type)
        if difference:
            request = _Request(seat_type, number, difference, at_most.get(seat_type))
            change.update(_change(product, request, for_type))
    return _changed(cart, change)


def new_cart(
    catalog: Catalog, product_id: str, wanted: Mapping[str, int], prices: Mapping[str, int] | None
) -> Cart:
    """The cheapest new cart with at least the wanted number of seats of each wanted type, and the product's
    minimum of the others. Raises `ProductNotFound`, and what `with_seats` raises.
    """
    product = known_product(catalog, product_id)
    cart = Cart(product_id, _ONE)
    needed = minimum_of_others(product, cart_seats(catalog, cart))
    return with_seats(catalog, cart, {**needed, **wanted}, prices)


def minimum_of_others(product: Product, given: Mapping[str, Seats]) -> Mapping[str, int]:
    """The product's minimum of each seat type of which fewer seats are `given`."""
    return {
        seat_type: minimum
        for seat_type, minimum in product.minimum.items()
        if not at_least(given[seat_type].purchased, minimum)
    }


def known_product(catalog: Catalog, product_id: str) -> Product:
    """The product with that id. Raises `ProductNotFound`, with the known ids."""
    product = catalog.product(product_id)
    if product is None:
        known = sorted(catalog.products)
        raise ProductNotFound(
            f"The catalogue has no product {product_id!r}. Known products: {', '.join(known) or 'none'}. "
            "To sell it, add its section to the catalogue, with the seats that it gives, and restart the "
            "service.",
            details={"product_id": product_id, "known_products": known},
        )
    return product


def is_a_choice(product: Product) -> bool:
    """True if seats of some type can be bought in more than one way, so that prices matter."""
    sold = (product.per_unit, *product.addons.values())
    return any(sum(_gives_only(sizes, t) for sizes in sold) > 1 for t in product.seat_types)


def _packs(product: Product, cart: Cart, seat_type: str, prices: Mapping[str, int] | None) -> Iterator[Pack]:
    """The packs that give seats of this type only."""
    if _gives_only(product.per_unit, seat_type):
        yield Pack(
            name=product.product_id,
            size=product.per_unit[seat_type],
            spare=max(cart.quantity - _ONE, 0),
            price=(prices or {}).get(product.product_id, 0),
        )
    for addon_id, sizes in product.addons.items():
        if _gives_only(sizes, seat_type):
            yield Pack(
                name=addon_id,
                size=sizes[seat_type],
                spare=cart.units(addon_id),
                price=(prices or {}).get(addon_id, 0),
                is_sold=prices is None or addon_id in prices,
            )


def _gives_only(sizes: Mapping[str, int], seat_type: str) -> bool:
    return [t for t, size in sizes.items() if size] == [seat_type]


def _difference(
    product: Product, seat_type: str, seats: Seats, wanted: int, for_type: tuple[Pack, ...]
) -> int:
    """How many more seats are wanted than the cart has. Raises if the product cannot give that number."""
    if seat_type not in product.seat_types:
        sold = ", ".join(product.seat_types) or "none"
        raise UnknownSeatType(
            f"{product.name} sells no {seat_type!r} seats; it sells {sold}.",
            details={"seat_type": seat_type, "known_seat_types": product.seat_types},
        )
    purchased = seats.purchased
    if isinstance(purchased, Unlimited):
        raise NoWayToBuy(
            f"{product.name} has unlimited {seat_type} seats, so their number cannot be changed.",
            details={"seat_type": seat_type, "wanted": wanted},
        )
    _check_bounds(product, seat_type, wanted, given=purchased - sum(p.size * p.spare for p in for_type))
    difference = wanted - purchased
    if abs(difference) > MOST_AT_ONCE:
        raise NoWayToBuy(
            f"At most {MOST_AT_ONCE} seats can be added or removed in one step, not {abs(difference)}.",
            details={"seat_type": seat_type, "wanted": wanted, "most_at_once": MOST_AT_ONCE},
        )
    return difference


def _check_bounds(product: Product, seat_type: str, wanted: int, *, given: int) -> None:
    minimum, maximum = product.minimum.get(seat_type, 0), product.maximum.get(seat_type)
    if wanted < max(minimum, given):
        if given < minimum:
            why = f"its minimum is {seat_words(minimum, seat_type)}"
        elif given == product.included.get(seat_type):
            why = f"it includes {given}"
        else:
            why = f"{seat_words(given, seat_type)} cannot be removed"
        raise BelowMinimum(
            f"{product.name} cannot be bought with {seat_words(wanted, seat_type)}: {why}.",
            details={"seat_type": seat_type, "wanted": wanted, "minimum": max(minimum, given)},
        )
    if maximum is not None and wanted > maximum:
        raise AboveMaximum(
            f"{product.name} cannot be bought with {seat_words(wanted, seat_type)}: its maximum is "
            f"{maximum}.",
            details={"seat_type": seat_type, "wanted": wanted, "maximum": maximum},
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """A request for `wanted` seats of a type, `difference` more than now, at best within `preferred`."""

    seat_type: str
    wanted: int
    difference: int
    preferred: int | None

    @property
    def current(self) -> int:
        return self.wanted - self.difference


def _change(product: Product, request: _Request, for_type: tuple[Pack, ...]) -> Mapping[str, int]:
    """The units to add, or if negative to remove, by the id of the add-on or product."""
    maximum, difference = product.maximum.get(request.seat_type), request.difference
    for bound in (request.preferred, maximum):
        bounds = [one for one in (bound, maximum) if one is not None]
        # Seats that were bought beyond a maximum may stay.
        most = max(min(bounds) - request.current, 0) if bounds else None
        if (change := packs.change(for_type, difference, most=most)) is not None:
            return change
    seats = seat_words(request.wanted, request.seat_type)
    details = {"seat_type": request.seat_type, "wanted": request.wanted}
    beyond = packs.change(for_type, difference)
    if beyond is None:
        raise NoWayToBuy(
            f"No combination of add-ons sold with {product.name} gives {seats}.", details=details
        )
    sizes = {pack.name: pack.size for pack in for_type}
    nearest = request.current + sum(sizes[name] * units for name, units in beyond.items())
    raise NoWayToBuy(
        f"{product.name} cannot be bought with {seats}, and the next possible number, {nearest}, is above "
        f"its maximum of {maximum}.",
        details={**details, "nearest": nearest, "maximum": maximum},
    )


def _changed(cart: Cart, change: Mapping[str, int]) -> Cart:
    """The cart with these changes. `Cart` merges units of an add-on, and drops those with no units."""
    addons = [AddonQuantity(name, units) for name, units in change.items() if name != cart.product_id]
    return Cart(cart.product_id, cart.quantity + change.get(cart.product_id, 0), (*cart.addons, *addons))
