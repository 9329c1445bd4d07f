"""Products and add-ons that are missing in the catalogue, as TOML to be pasted into it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from cli.backfill.summary import Summary
from domain.catalog.model import Catalog, Product
from domain.catalog.toml_lines import dotted
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.findings import addon_field
from domain.provider_errors import ProviderError
from domain.wording import counted
from providers.base import Provider

T = TypeVar("T", AddonOnSale, ProductOnSale)


def missing_products(summary: Summary, catalog: Catalog, provider: Provider) -> str:
    """TOML sections for the products and add-ons in use that are not in the catalogue; empty if none.

    Names and currencies come from the provider, and are left out if it cannot be read.
    """
    sections = [
        *(
            _unknown_product(product_id, summary, provider)
            for product_id in sorted(summary.products)
            if catalog.product(product_id) is None
        ),
        *(_unknown_addons(product, summary, provider) for product in catalog.products.values()),
    ]
    return "\n".join(filter(None, sections))


def _unknown_product(product_id: str, summary: Summary, provider: Provider) -> str:
    product = _if_readable(lambda: provider.product(product_id))
    about = _about(product, summary.products[product_id])
    offered = (product.addons or ()) if product is not None else ()
    lines = [
        f"[{dotted(('products', product_id))}]  # {about}",
        "included = {}  # how many seats are included, for example { full = 5 }",
        *(
            f"{addon_field(addon_id)} = {{}}  # {_addon(addon_id, product_id, summary, provider)}: "
            "{} gives no seat, { full = 1 } gives one"
            for addon_id in sorted({*offered, *_in_carts(product_id, summary)})
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def _unknown_addons(product: Product, summary: Summary, provider: Provider) -> str:
    """One section per add-on: the product's own section exists already and must not be repeated."""
    product_id = product.product_id
    return "".join(
        f"[{dotted(('products', product_id, 'addons', addon_id))}]"
        f"  # {_addon(addon_id, product_id, summary, provider)}\n"
        "# full = 1  # how many seats one unit gives; without this line none\n"
        for addon_id in _in_carts(product_id, summary)
        if addon_id not in product.addons
    )


def _addon(addon_id: str, product_id: str, summary: Summary, provider: Provider) -> str:
    return _about(
        _if_readable(lambda: provider.addon(addon_id)), summary.addons.get((product_id, addon_id), 0)
    )


def _in_carts(product_id: str, summary: Summary) -> Iterator[str]:
    return (addon_id for product, addon_id in sorted(summary.addons) if product == product_id)


def _about(sold: ProductOnSale | AddonOnSale | None, count: int) -> str:
    """`"Team Pro", in EUR, 12 subscriptions`: a TOML comment, so one line of printable characters."""
    name, currency = (sold.name, sold.currency) if sold is not None else (None, None)
    facts = (
        json.dumps(_printable(name), ensure_ascii=False) if name else "name unknown",
        f"in {_printable(currency)}" if currency else "",
        counted(count, "subscription"),
    )
    return ", ".join(filter(None, facts))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _if_readable(read: Callable[[], T | None]) -> T | None:
    """The result of the call; None if the provider fails, since the sections are useful without names."""
    try:
        return read()
    except ProviderError:
        return None
