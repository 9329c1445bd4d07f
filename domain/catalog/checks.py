"""Check that the parts of a catalogue fit together, after each value was checked by itself."""

from __future__ import annotations

from typing import Final

from domain.catalog.model import FREE, Catalog, Product
from domain.catalog.toml_table import Mistakes, Table, suggestion
from domain.seat_limit import at_least

SEAT_SOURCES: Final = ("products", "free", "contracts")
"""The sections that give seats."""


def check(catalog: Catalog, root: Table) -> None:
    """Add a mistake to `root` for every contradiction within or between sections."""
    _check_something_gives_seats(root)
    _check_roles_are_sold(catalog, root.mistakes)
    _check_contracts_differ(catalog, root.mistakes)
    for product in catalog.products.values():
        _check_bounds_are_sold(product, root.mistakes)
        _check_maximum(product, root.mistakes)


def _check_something_gives_seats(root: Table) -> None:
    if not any(root.values.get(key) for key in SEAT_SOURCES):
        root.mistakes.add((), "nothing gives seats; add a [products.ID], [free] or a [contracts.NAME].")


def _check_roles_are_sold(catalog: Catalog, mistakes: Mistakes) -> None:
    for role, seat_type in catalog.roles.items():
        if seat_type is not None and seat_type not in catalog.seat_types:
            problem = (
                f"no product, [free] or contract gives '{seat_type}' seats; "
                f'there are {_listed(catalog.seat_types)}, and "{FREE}" for no seat.'
            )
            mistakes.add(("roles", role), problem + suggestion(seat_type, (*catalog.seat_types, FREE)))


def _check_contracts_differ(catalog: Catalog, mistakes: Mistakes) -> None:
    seen: dict[object, str] = {}
    for name, contract in catalog.contracts.items():
        meaning = (contract.account_id, contract.starts, contract.ends, tuple(sorted(contract.seats.items())))
        twin = seen.setdefault(meaning, name)
        if twin != name and contract.account_id and contract.seats:
            problem = f"says the same as contract '{twin}', so its seats would count twice; leave one out."
            mistakes.add(("contracts", name), problem)


def _check_bounds_are_sold(product: Product, mistakes: Mistakes) -> None:
    for key, bounds in (("minimum", product.minimum), ("maximum", product.maximum)):
        for seat_type in bounds:
            if seat_type not in product.seat_types:
                problem = (
                    f"this product sells no '{seat_type}' seats, it sells {_listed(product.seat_types)}."
                )
                hint = suggestion(seat_type, product.seat_types)
                mistakes.add(("products", product.product_id, key, seat_type), problem + hint)


def _check_maximum(product: Product, mistakes: Mistakes) -> None:
    path = ("products", product.product_id)
    for seat_type, maximum in product.maximum.items():
        minimum, included = product.minimum.get(seat_type, 0), product.included.get(seat_type, 0)
        if minimum > maximum:
            problem = f"minimum {minimum} is above maximum {maximum}."
            mistakes.add((*path, "minimum", seat_type), problem)
        if not at_least(maximum, included):
            problem = f"maximum {maximum} is below the {included} seats included."
            mistakes.add((*path, "maximum", seat_type), problem)


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words) or "none"
