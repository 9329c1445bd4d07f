"""Amounts of money as the provider states them: whole numbers of a currency's smallest unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# ISO 4217, list one: the currencies that have other than two decimals.
_DECIMALS: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0
    ),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
_MOST_HAVE: Final = 2


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in the smallest unit of a currency, an ISO 4217 code."""

    amount: int
    currency: str

    def __str__(self) -> str:
        """What customers read: `25.00 USD`, `2500 JPY`."""
        decimals = _DECIMALS.get(self.currency, _MOST_HAVE)
        digits = str(abs(self.amount)).rjust(decimals + 1, "0")
        split = len(digits) - decimals
        number = f"{digits[:split]}.{digits[split:]}" if decimals else digits
        return f"{'-' if self.amount < 0 else ''}{number} {self.currency}"
