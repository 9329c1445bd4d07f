"""What the catalogue does not know, as TOML that is ready to be pasted into it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from cli.backfill.summary import Summary
from domain.catalog.model import Catalog, Product
from domain.catalog.toml_lines import dotted
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.errors import ProviderError
from domain.findings import addon_field
from domain.wording import counted
from providers.base import Provider

T = TypeVar("T", AddonOnSale, ProductOnSale)


def sections(summary: Summary, catalog: Catalog, provider: Provider) -> str:
    """Products and add-ons that subscriptions have and the catalogue has not; nothing where it has all.

    Their names are asked for at the provider; where it does not tell, they stand there without.
    """
    told = [
        *(
            _unknown_product(product_id, summary, provider)
            for product_id in sorted(summary.products)
            if catalog.product(product_id) is None
        ),
        *(_unknown_addons(product, summary, provider) for product in catalog.products.values()),
    ]
    return "\n".join(filter(None, told))


def _unknown_product(product_id: str, summary: Summary, provider: Provider) -> str:
    product = _asked(lambda: provider.product(product_id))
    about = _about(product, summary.products[product_id])
    offered = (product.addons or ()) if product is not None else ()
    lines = [
        f"[{dotted(('products', product_id))}]  # {about}",
        "included = {}  # say how many seats are included, as in { full = 5 }",
        *(
            f"{addon_field(addon_id)} = {{}}  # {_addon(addon_id, product_id, summary, provider)}: "
            "{} is no seat, { full = 1 } is one"
            for addon_id in sorted({*offered, *_in_carts(product_id, summary)})
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def _unknown_addons(product: Product, summary: Summary, provider: Provider) -> str:
    """A section may not be opened twice, but each new add-on of it may be one of its own."""
    product_id = product.product_id
    return "".join(
        f"[{dotted(('products', product_id, 'addons', addon_id))}]"
        f"  # {_addon(addon_id, product_id, summary, provider)}\n"
        "# full = 1  # how many seats one unit is; empty it is no seat\n"
        for addon_id in _in_carts(product_id, summary)
        if addon_id not in product.addons
    )


def _addon(addon_id: str, product_id: str, summary: Summary, provider: Provider) -> str:
    return _about(_asked(lambda: provider.addon(addon_id)), summary.addons.get((product_id, addon_id), 0))


def _in_carts(product_id: str, summary: Summary) -> Iterator[str]:
    return (addon_id for product, addon_id in sorted(summary.addons) if product == product_id)


def _about(sold: ProductOnSale | AddonOnSale | None, count: int) -> str:
    """`"Team Pro", in EUR, 12 subscriptions`: a comment must be one line of plain signs."""
    name, currency = (sold.name, sold.currency) if sold is not None else (None, None)
    facts = (
        json.dumps(_plain(name), ensure_ascii=False) if name else "of unknown name",
        f"in {_plain(currency)}" if currency else "",
        counted(count, "subscription"),
    )
    return ", ".join(filter(None, facts))


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _asked(question: Callable[[], T | None]) -> T | None:
    """The sections are of use without it, so no failure is told."""
    try:
        return question()
    except ProviderError:
        return None
