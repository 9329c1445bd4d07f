"""The catalogue against what the provider sells, and against what is subscribed to."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from cli.doctor.result import Level, Result, ok
from domain.catalog.model import Catalog
from domain.catalog_comparison import Mismatch, MismatchKind, OnSale, compare, unused
from domain.errors import ProviderError
from domain.wording import counted
from providers.base import Provider
from runtime.wiring import Runtime
from services.reports import service_health

_CHECK = "catalogue"
_NO_FAULTS = {MismatchKind.PRODUCT_ARCHIVED, MismatchKind.ADDON_ARCHIVED, MismatchKind.PRODUCT_UNUSED}


def check(runtime: Runtime) -> Iterator[Result]:
    """Every mismatch, or that there is none."""
    yield from _against_provider(runtime)
    yield from _against_subscriptions(runtime)


def _against_provider(runtime: Runtime) -> Iterator[Result]:
    catalog = runtime.catalog
    try:
        mismatches = list(compare(catalog, on_sale(runtime.provider, catalog)))
    except ProviderError as error:
        advice = "See what is said of the provider and the API key; then run this again."
        yield Result(Level.WARNING, _CHECK, f"Not compared with the provider: {error.message}", advice)
        return
    yield from map(_result, mismatches)
    if not mismatches:
        products = counted(len(catalog.products), "product is", "products are")
        yield ok(_CHECK, f"{products} at the provider as they stand here.")


def _against_subscriptions(runtime: Runtime) -> Iterator[Result]:
    try:
        with runtime.sessions() as session:
            used = service_health.products_in_use(session)
    except SQLAlchemyError:
        found = "Which products are in use is not known: the database is away, or not migrated."
        yield Result(Level.WARNING, _CHECK, found, "See what is said of the database.")
        return
    if used:
        yield from map(_result, unused(runtime.catalog, used))
    else:
        found = "Which products are in use is not known: no subscription was looked at yet."
        yield Result(Level.NOTE, _CHECK, found)


def on_sale(provider: Provider, catalog: Catalog) -> OnSale:
    """What the provider lists, archived or not, and its word on each product that the catalogue names."""
    archived_products = {product.product_id: product for product in provider.products(archived=True)}
    archived_addons = {addon.addon_id: addon for addon in provider.addons(archived=True)}
    products = archived_products | {product.product_id: product for product in provider.products()}
    addons = archived_addons | {addon.addon_id: addon for addon in provider.addons()}
    for product_id in catalog.products:  # only a product that is retrieved shows its add-ons
        if (product := provider.product(product_id)) is not None:
            products[product_id] = product
    return OnSale(products=products, addons=addons, archived={*archived_products, *archived_addons})


def _result(mismatch: Mismatch) -> Result:
    level = Level.NOTE if mismatch.kind in _NO_FAULTS else Level.WARNING
    return Result(level, f"{_CHECK} {mismatch.place}", mismatch.found, mismatch.advice)
