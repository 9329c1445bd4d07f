"""Tax on a sale, by the country of the billing address."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

PER_CENT: Mapping[str, int] = {
    "AT": 20,
    "BE": 21,
    "DE": 19,
    "ES": 21,
    "FR": 20,
    "GB": 20,
    "IE": 23,
    "IT": 22,
    "JP": 10,
    "NL": 21,
    "NO": 25,
    "PL": 23,
    "PT": 23,
    "SE": 25,
}
"""Standard rates by country, in per cent. In other countries there is no tax."""


def tax_on(amount: int, country: str, *, is_included: bool) -> int:
    """The tax to add to an amount, or the tax included in it, in the smallest unit of the currency."""
    rate = PER_CENT.get(country, 0)
    return rounded(amount * Fraction(rate, 100 + rate if is_included else 100))


def rounded(exact: Fraction) -> int:
    """Rounded to the smallest unit, halves away from zero, so that credits mirror charges."""
    size = int(abs(exact) + Fraction(1, 2))
    return size if exact > 0 else -size
