"""Packs: seats are sold in units of one or more seats. Find the cheapest units to add and to remove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

MOST_AT_ONCE: Final = 100_000
"""The most seats by which a cart can change in one step; it bounds the computation."""

_MOST_EXCHANGED: Final = 10_000

# Weights in descending order: each is larger than any possible sum of the ones after it.
_PRICE: Final = 2**120
_KEPT: Final = 2**80
_LARGE: Final = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Something sold in units of `size` seats, at `price` a unit in the currency's smallest unit.

    `spare` units are in the cart and can be removed. If `is_sold` is false, none can be added.
    """

    name: str
    size: int
    spare: int = 0
    price: int = 0
    is_sold: bool = True


def change(packs: Sequence[Pack], seats: int, *, most: int | None = None) -> Mapping[str, int] | None:
    """Units to add, or if negative to remove, for the cheapest cart with at least `seats` more seats than now
    (`seats` may be negative), and at most `most` more.

    Among carts of the same price, the one with the fewest seats is chosen, then the one that removes the
    least; then single seats are preferred to packs, and fewer units to more. None if no combination fits.
    """
    usable = [_movable(pack, max(-seats, 0)) for pack in packs if pack.size <= MOST_AT_ONCE]
    there = sum(pack.size * pack.spare for pack in usable)
    largest = max((pack.size for pack in usable), default=0)
    least = max(there + seats, 0)
    # A cart that could lose a whole unit is not the cheapest, or has more seats than it needs.
    enough = least + largest
    carts = _Carts(usable, enough if most is None else max(min(there + most, enough), 0))
    best = min((n for n in carts.possible if n >= least), key=carts.worth, default=None)
    return None if best is None else carts.difference(best)


def _movable(pack: Pack, seats: int) -> Pack:
    """The pack with only as many spare units as a removal of `seats` can remove or exchange. The other units
    stay in the cart, which keeps the computation short for very large carts.
    """
    return replace(pack, spare=min(pack.spare, (_MOST_EXCHANGED + seats) // pack.size))


class _Carts:
    """The best cart with exactly n seats, for each n up to `most`. Units that stay are chosen before units
    that are added.
    """

    def __init__(self, packs: Sequence[Pack], most: int) -> None:
        self._packs = packs
        self._weight: list[float] = [0, *[inf] * most]
        self._kept: list[tuple[Pack, int, bytearray]] = []
        self._added: list[Pack | None] = [None] * (most + 1)
        for pack in packs:
            for count in _shares(min(pack.spare, most // pack.size)):
                self._kept.append((pack, count, self._keep(pack, count)))
        for pack in packs:
            if pack.is_sold:
                self._add(pack)
        self.possible = [seats for seats, weight in enumerate(self._weight) if weight < inf]

    def worth(self, seats: int) -> tuple[float, int, float]:
        """What orders carts with different numbers of seats, the least being the best."""
        weight = self._weight[seats]
        return (weight + _PRICE // 2) // _PRICE, seats, weight

    def difference(self, seats: int) -> Mapping[str, int]:
        """The units of the cart with so many seats, less those that are there."""
        units: Counter[str] = Counter()
        while (pack := self._added[seats]) is not None:
            units[pack.name] += 1
            seats -= pack.size
        for pack, count, is_kept in reversed(self._kept):
            if is_kept[seats]:
                units[pack.name] += count
                seats -= pack.size * count
        units.subtract({pack.name: pack.spare for pack in self._packs})
        return {name: count for name, count in units.items() if count}

    def _keep(self, pack: Pack, count: int) -> bytearray:
        size, weight, best = pack.size * count, _weight(pack, kept=pack.size) * count, self._weight
        is_kept = bytearray(len(best))
        for seats in range(len(best) - 1, size - 1, -1):
            if best[seats - size] + weight < best[seats]:
                best[seats] = best[seats - size] + weight
                is_kept[seats] = True
        return is_kept

    def _add(self, pack: Pack) -> None:
        size, weight, best = pack.size, _weight(pack, kept=0), self._weight
        for seats in range(size, len(best)):
            if best[seats - size] + weight < best[seats]:
                best[seats] = best[seats - size] + weight
                self._added[seats] = pack


def _weight(pack: Pack, *, kept: int) -> int:
    """What a unit adds to a cart: its price; at the same price seats that are kept count most, then packs
    weigh more than single seats, and each unit adds a little.
    """
    return pack.price * _PRICE - kept * _KEPT + (pack.size > 1) * _LARGE + 1


def _shares(units: int) -> Sequence[int]:
    """Numbers whose sums are all of 0 to `units`: 1, 2, 4, ... and what is left."""
    shares: list[int] = []
    power = 1
    while units:
        shares.append(min(power, units))
        units -= shares[-1]
        power *= 2
    return shares
