"""Which cart gives so many seats: the one that is there, changed as little as possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from seats import packs
from seats.catalog import Catalog, Product
from seats.counts import NO_SEATS, Seats, cart_seats
from seats.errors import AboveMaximum, BelowMinimum, NoWayToBuy, ProductNotFound, UnknownSeatType
from seats.limit import Unlimited, at_least
from seats.packs import MOST_AT_ONCE, Pack
from seats.plan import Cart
from seats.policies import seat_words
from seats.snapshot import AddonQuantity

_ONE: Final = 1  # the provider sells a product at least once


def with_seats(
    catalog: Catalog, cart: Cart, wanted: Mapping[str, int], prices: Mapping[str, int] | None
) -> Cart:
    """The cart with that many purchased seats of each wanted type, and everything else as it is.

    Where no cart gives exactly as many, the one with the fewest above (`surplus` tells). Nothing that is
    there is exchanged as long as adding, or giving back, is enough; beyond that the cheapest cart counts,
    by `prices` of a unit in the smallest unit of one currency, add-ons by their id and the product by its
    own. Only add-ons with a price are added; prices that are None are those of nobody: all are sold, and
    single seats are preferred to packs. An add-on that gives seats of several types stays as it is.

    Raises `BelowMinimum`, `AboveMaximum`, `NoWayToBuy`, `UnknownSeatType` and `Uncountable`.
    """
    seats = cart_seats(catalog, cart)
    product = catalog.products[cart.product_id]
    change: dict[str, int] = {}
    for seat_type, number in wanted.items():
        for_type = tuple(_packs(product, cart, seat_type, prices))
        difference = _difference(product, seat_type, seats.get(seat_type, NO_SEATS), number, for_type)
        change.update(_change(product, seat_type, number, difference, for_type))
    return _changed(cart, change)


def new_cart(
    catalog: Catalog, product_id: str, wanted: Mapping[str, int], prices: Mapping[str, int] | None
) -> Cart:
    """The cheapest cart with that many seats of each wanted type, and of the others the fewest that the
    product is sold with. Raises `ProductNotFound`, and what `with_seats` raises.
    """
    product = known_product(catalog, product_id)
    cart = Cart(product_id, _ONE)
    included = cart_seats(catalog, cart)
    needed = {
        seat_type: minimum
        for seat_type, minimum in product.minimum.items()
        if not at_least(included[seat_type].purchased, minimum)
    }
    return with_seats(catalog, cart, {**needed, **wanted}, prices)


def known_product(catalog: Catalog, product_id: str) -> Product:
    """The product; raises `ProductNotFound`, naming those there are."""
    product = catalog.product(product_id)
    if product is None:
        known = sorted(catalog.products)
        raise ProductNotFound(
            f"The catalogue knows no product {product_id!r}. Known products: {', '.join(known) or 'none'}.",
            details={"product_id": product_id, "known_products": known},
        )
    return product


def surplus(catalog: Catalog, cart: Cart, wanted: Mapping[str, int]) -> Mapping[str, int]:
    """By how many seats the cart exceeds what is wanted, of the types of which it does."""
    seats = cart_seats(catalog, cart)
    beyond = {t: _number(seats.get(t, NO_SEATS)) - number for t, number in wanted.items()}
    return {seat_type: number for seat_type, number in beyond.items() if number > 0}


def is_a_choice(product: Product) -> bool:
    """Whether seats of some type can be bought in more than one way, so that prices matter."""
    sold = (product.per_unit, *product.addons.values())
    return any(sum(_gives_only(sizes, t) for sizes in sold) > 1 for t in product.seat_types)


def _packs(product: Product, cart: Cart, seat_type: str, prices: Mapping[str, int] | None) -> Iterator[Pack]:
    """What is sold of this seat type and of no other."""
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
    """How many more seats are wanted than there are, once that is something to be had at all."""
    if seat_type not in product.seat_types:
        sold = ", ".join(product.seat_types) or "none"
        raise UnknownSeatType(
            f"{product.name} sells no {seat_type!r} seats; it sells {sold}.",
            details={"seat_type": seat_type, "known_seat_types": product.seat_types},
        )
    purchased = seats.purchased
    if isinstance(purchased, Unlimited):
        raise NoWayToBuy(
            f"{product.name} has unlimited {seat_type} seats; there is no number to change.",
            details={"seat_type": seat_type, "wanted": wanted},
        )
    _check_bounds(product, seat_type, wanted, given=purchased - sum(p.size * p.spare for p in for_type))
    difference = wanted - purchased
    if abs(difference) > MOST_AT_ONCE:
        raise NoWayToBuy(
            f"At most {MOST_AT_ONCE} seats can be bought or given back in one step, not {abs(difference)}.",
            details={"seat_type": seat_type, "wanted": wanted, "most_at_once": MOST_AT_ONCE},
        )
    return difference


def _check_bounds(product: Product, seat_type: str, wanted: int, *, given: int) -> None:
    minimum, maximum = product.minimum.get(seat_type, 0), product.maximum.get(seat_type)
    if wanted < max(minimum, given):
        why = (
            f"{seat_words(given, seat_type)} cannot be given back"
            if given >= minimum
            else f"it is sold with at least {seat_words(minimum, seat_type)}"
        )
        raise BelowMinimum(
            f"{product.name} cannot be had with {seat_words(wanted, seat_type)}: {why}.",
            details={"seat_type": seat_type, "wanted": wanted, "minimum": max(minimum, given)},
        )
    if maximum is not None and wanted > maximum:
        raise AboveMaximum(
            f"{product.name} cannot be had with {seat_words(wanted, seat_type)}: it is sold with at most "
            f"{maximum}.",
            details={"seat_type": seat_type, "wanted": wanted, "maximum": maximum},
        )


def _change(
    product: Product, seat_type: str, wanted: int, difference: int, for_type: tuple[Pack, ...]
) -> Mapping[str, int]:
    """Units to add or to take away, by the id of what they are of."""
    change = packs.change(for_type, difference)
    if change is None:
        raise NoWayToBuy(
            f"Nothing that is sold with {product.name} gives {seat_words(wanted, seat_type)}.",
            details={"seat_type": seat_type, "wanted": wanted},
        )
    sizes = {pack.name: pack.size for pack in for_type}
    nearest = wanted - difference + sum(sizes[name] * units for name, units in change.items())
    maximum = product.maximum.get(seat_type)
    if maximum is not None and nearest > max(maximum, wanted - difference):
        raise NoWayToBuy(
            f"{product.name} is not sold with {seat_words(wanted, seat_type)}, and the next number that is, "
            f"{nearest}, is above its maximum of {maximum}.",
            details={"seat_type": seat_type, "wanted": wanted, "nearest": nearest, "maximum": maximum},
        )
    return change


def _changed(cart: Cart, change: Mapping[str, int]) -> Cart:
    """Cart adds up what stands twice, and leaves out what comes to nothing."""
    addons = [AddonQuantity(name, units) for name, units in change.items() if name != cart.product_id]
    return Cart(cart.product_id, cart.quantity + change.get(cart.product_id, 0), (*cart.addons, *addons))


def _number(seats: Seats) -> int:
    return 0 if isinstance(seats.purchased, Unlimited) else seats.purchased
