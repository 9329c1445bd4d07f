"""Seats are sold in packs, one seat being the smallest: which units to add, and which to take away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

MOST_AT_ONCE: Final = 100_000
"""Seats by which a cart can change in one step: beyond it nobody sells by the pack."""

_FAR: Final = 2**40  # more than any number of units, so that the price decides first


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Something sold in units of `size` seats, at `price` a unit in the currency's smallest unit.

    `spare` units are there and can be given back; none can be added where it is not `is_sold`.
    """

    name: str
    size: int
    spare: int = 0
    price: int = 0
    is_sold: bool = True

    @property
    def weight(self) -> int:
        """What a unit adds to the cart: its price; at equal price a unit of one seat is preferred to a pack,
        then fewer units to more.
        """
        return (self.price * _FAR + (self.size > 1)) * _FAR + 1


def change(packs: Sequence[Pack], seats: int) -> Mapping[str, int] | None:
    """Units to add, or where negative to take away, so that there are so many more seats, or fewer.

    Where that cannot be had exactly, it is the least number above. What is there stays where that is
    possible, and only as many seats go as have to; among all carts of that kind it is the cheapest. None
    where nothing that is sold gives so many.
    """
    usable = [pack for pack in packs if pack.size <= MOST_AT_ONCE]
    if seats > 0 and not any(pack.is_sold for pack in usable):
        return None
    largest = max((pack.size for pack in usable), default=0)
    # Of as many units taken away and added as the largest pack has seats, some would cancel out.
    most_away = min(sum(pack.size * pack.spare for pack in usable), max(-seats, 0) + largest**2)
    away = _Away(usable, min(most_away, MOST_AT_ONCE + largest))
    added = _Added(usable, max(seats, 0) + away.most + largest)
    for above in range(largest + 1):
        for gone in away.possible:
            come = seats + above + gone
            if come >= 0 and added.can(come):
                return {**_signed(added.units(come), away.units(gone))}
    return None


def _signed(added: Counter[str], away: Counter[str]) -> Mapping[str, int]:
    added.subtract(away)
    return {name: units for name, units in added.items() if units}


class _Added:
    """The cheapest way to add exactly so many seats, for each number up to `most`."""

    def __init__(self, packs: Sequence[Pack], most: int) -> None:
        self._weight: list[float] = [0, *[inf] * most]
        self._last: list[Pack | None] = [None] * (most + 1)
        for pack in packs:
            if pack.is_sold:
                self._offer(pack)

    def _offer(self, pack: Pack) -> None:
        size, weight, best = pack.size, pack.weight, self._weight
        for seats in range(size, len(best)):
            if best[seats - size] + weight < best[seats]:
                best[seats] = best[seats - size] + weight
                self._last[seats] = pack

    def can(self, seats: int) -> bool:
        return self._weight[seats] < inf

    def units(self, seats: int) -> Counter[str]:
        units: Counter[str] = Counter()
        while (pack := self._last[seats]) is not None:
            units[pack.name] += 1
            seats -= pack.size
        return units


class _Away:
    """What to take away for exactly so many seats, the dearest first, for each number up to `most`."""

    def __init__(self, packs: Sequence[Pack], most: int) -> None:
        self.most = most
        self._weight: list[float] = [0, *[inf] * most]
        self._taken: list[tuple[Pack, int, bytearray]] = []
        for pack in packs:
            for count in _shares(min(pack.spare, most // pack.size)):
                self._taken.append((pack, count, self._take(pack, count)))
        self.possible = [seats for seats, weight in enumerate(self._weight) if weight < inf]

    def _take(self, pack: Pack, count: int) -> bytearray:
        size, weight, best = pack.size * count, pack.weight * count, self._weight
        taken = bytearray(len(best))
        for seats in range(len(best) - 1, size - 1, -1):
            if best[seats - size] - weight < best[seats]:
                best[seats] = best[seats - size] - weight
                taken[seats] = True
        return taken

    def units(self, seats: int) -> Counter[str]:
        units: Counter[str] = Counter()
        for pack, count, taken in reversed(self._taken):
            if taken[seats]:
                units[pack.name] += count
                seats -= pack.size * count
        return units


def _shares(units: int) -> Sequence[int]:
    """Numbers whose sums are all of 0 to `units`: 1, 2, 4, ... and what is left."""
    shares: list[int] = []
    power = 1
    while units:
        shares.append(min(power, units))
        units -= shares[-1]
        power *= 2
    return shares
