"""Which cart gives so many seats: the cheapest, and among equals the one that is there."""

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

_ONE: Final = 1  # the provider sells a product at least once


def with_seats(
    catalog: Catalog,
    cart: Cart,
    wanted: Mapping[str, int],
    prices: Mapping[str, int] | None,
    *,
    at_most: Mapping[str, int] = MappingProxyType({}),
) -> Cart:
    """The cheapest cart with at least that many purchased seats of each wanted type; the rest stays as it is.

    A pack may be cheaper than fewer single seats, so the cart may give more than is wanted, but no more
    than the product's maximum, and than `at_most` if that can be had. Among carts of the same price
    it is the one with the fewest seats, and then the one that exchanges the least. A type of which there are
    as many as wanted stays as it is.

    `prices` are those of a unit in the smallest unit of one currency, add-ons by their id and the product by
    its own. Only add-ons with a price are added. None: prices are unknown, all add-ons are sold, and single
    seats are preferred to packs. An add-on that gives seats of several types stays as it is.

    Raises `BelowMinimum`, `AboveMaximum`, `NoWayToBuy`, `UnknownSeatType` and `Uncountable`.
    """
    seats = cart_seats(catalog, cart)
    product = catalog.products[cart.product_id]
    change: dict[str, int] = {}
    for seat_type, number in wanted.items():
        for_type = tuple(_packs(product, cart, seat_type, prices))
        difference = _difference(product, seat_type, seats.get(seat_type, NO_SEATS), number, for_type)
        if difference:
            wish = _Request(seat_type, number, difference, at_most.get(seat_type))
            change.update(_change(product, wish, for_type))
    return _changed(cart, change)


def new_cart(
    catalog: Catalog, product_id: str, wanted: Mapping[str, int], prices: Mapping[str, int] | None
) -> Cart:
    """The cheapest cart with at least that many seats of each wanted type, and of the others at least as many
    as the product is sold with. Raises `ProductNotFound`, and what `with_seats` raises.
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


@dataclass(frozen=True, slots=True)
class _Request:
    """So many seats of a type, `difference` more than there are; at most `preferred` if that can be had."""

    seat_type: str
    wanted: int
    difference: int
    preferred: int | None

    @property
    def there(self) -> int:
        return self.wanted - self.difference


def _change(product: Product, wish: _Request, for_type: tuple[Pack, ...]) -> Mapping[str, int]:
    """Units to add or to take away, by the id of what they are of."""
    maximum, difference = product.maximum.get(wish.seat_type), wish.difference
    for bound in (wish.preferred, maximum):
        bounds = [one for one in (bound, maximum) if one is not None]
        # What was bought beyond a maximum may stay.
        most = max(min(bounds) - wish.there, 0) if bounds else None
        if (change := packs.change(for_type, difference, most=most)) is not None:
            return change
    seats = seat_words(wish.wanted, wish.seat_type)
    details = {"seat_type": wish.seat_type, "wanted": wish.wanted}
    beyond = packs.change(for_type, difference)
    if beyond is None:
        raise NoWayToBuy(f"Nothing that is sold with {product.name} gives {seats}.", details=details)
    sizes = {pack.name: pack.size for pack in for_type}
    nearest = wish.there + sum(sizes[name] * units for name, units in beyond.items())
    raise NoWayToBuy(
        f"{product.name} is not sold with {seats}, and the next number that is, {nearest}, is above its "
        f"maximum of {maximum}.",
        details={**details, "nearest": nearest, "maximum": maximum},
    )


def _changed(cart: Cart, change: Mapping[str, int]) -> Cart:
    """Cart adds up what stands twice, and leaves out what comes to nothing."""
    addons = [AddonQuantity(name, units) for name, units in change.items() if name != cart.product_id]
    return Cart(cart.product_id, cart.quantity + change.get(cart.product_id, 0), (*cart.addons, *addons))
