"""Checks of the catalogue against the provider's products and against the products in use."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from cli.doctor.result import Level, Result, ok
from domain.catalog.model import Catalog
from domain.catalog_comparison import Mismatch, MismatchKind, OnSale, compare, unused
from domain.provider_errors import ProviderError
from domain.wording import counted
from providers.base import Provider
from runtime.wiring import Runtime
from services.reports import service_health

_CHECK = "catalogue"
_ONLY_NOTES = {MismatchKind.PRODUCT_ARCHIVED, MismatchKind.ADDON_ARCHIVED, MismatchKind.PRODUCT_UNUSED}


def check(runtime: Runtime) -> Iterator[Result]:
    """Compare the catalogue with the provider and with the subscriptions; yields every difference."""
    yield from _against_provider(runtime)
    yield from _against_subscriptions(runtime)


def _against_provider(runtime: Runtime) -> Iterator[Result]:
    catalog = runtime.catalog
    try:
        mismatches = list(compare(catalog, on_sale(runtime.provider, catalog)))
    except ProviderError as error:
        advice = "Follow the advice for the provider and the API key, then run this again."
        yield Result(Level.WARNING, _CHECK, f"Not compared with the provider: {error.message}", advice)
        return
    yield from map(_result, mismatches)
    if not mismatches:
        yield ok(_CHECK, f"{counted(len(catalog.products), 'product')} compared, no differences.")


def _against_subscriptions(runtime: Runtime) -> Iterator[Result]:
    try:
        with runtime.sessions() as session:
            used = service_health.products_in_use(session)
    except SQLAlchemyError:
        found = "The products in use are unknown: the database is unreachable or not migrated."
        yield Result(Level.WARNING, _CHECK, found, "Follow the advice for the database.")
        return
    if used:
        yield from map(_result, unused(runtime.catalog, used))
    else:
        found = "The products in use are unknown: no subscription was synced yet."
        yield Result(Level.NOTE, _CHECK, found)


def on_sale(provider: Provider, catalog: Catalog) -> OnSale:
    """The provider's products and add-ons, archived ones included; those in the catalogue with their add-ons.

    Raises `ProviderError` if the provider cannot be read.
    """
    archived_products = {product.product_id: product for product in provider.products(archived=True)}
    archived_addons = {addon.addon_id: addon for addon in provider.addons(archived=True)}
    products = archived_products | {product.product_id: product for product in provider.products()}
    addons = archived_addons | {addon.addon_id: addon for addon in provider.addons()}
    for product_id in catalog.products:  # the list does not contain the add-ons of a product
        if (product := provider.product(product_id)) is not None:
            products[product_id] = product
    return OnSale(products=products, addons=addons, archived={*archived_products, *archived_addons})


def _result(mismatch: Mismatch) -> Result:
    level = Level.NOTE if mismatch.kind in _ONLY_NOTES else Level.WARNING
    return Result(level, f"{_CHECK} {mismatch.place}", mismatch.found, mismatch.advice)
