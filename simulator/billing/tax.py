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
"""Standard rates; everywhere else nothing is added."""


def tax_on(amount: int, country: str, *, is_included: bool) -> int:
    """The tax added to an amount, or the part of the amount that is tax; both in the smallest unit."""
    rate = PER_CENT.get(country, 0)
    return rounded(amount * Fraction(rate, 100 + rate if is_included else 100))


def rounded(exact: Fraction) -> int:
    """To the smallest unit, halves away from zero, so that what is taken back mirrors what was charged."""
    size = int(abs(exact) + Fraction(1, 2))
    return size if exact > 0 else -size
