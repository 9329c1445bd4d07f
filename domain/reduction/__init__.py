"""Who would have to leave: one file per order, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from heapq import nsmallest
from typing import Final, Literal, Protocol, cast

from domain.errors import SeatSyncError
from domain.seat_limit import SeatLimit, overage

DEFAULT: Final = "least_active"

Rank = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatHolder:
    """Somebody who occupies a seat: all an order may look at.

    `claimed_at` is when a held seat's invitation went out. `last_active_at` is the app's own report.
    """

    member_id: str
    name: str | None
    role: str
    seat_type: str
    state: Literal["active", "held"]
    protected: bool
    claimed_at: datetime
    last_active_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Leaver:
    """A holder with a place in the order, 1 being the first to leave, and the reason for it."""

    place: int
    holder: SeatHolder
    reason: str


class Order(Protocol):
    """What a file in this folder must have. Protection and ties are no business of its own."""

    def rank(self, holder: SeatHolder) -> Rank:
        """The lower, the sooner the holder leaves; pure, and of one length for everybody."""

    def reason(self, holder: SeatHolder) -> str:
        """Why the holder has that rank, for people to read."""


class UnknownOrder(SeatSyncError):
    """No file in this folder has that name."""

    code = "unknown_order"


def names() -> tuple[str, ...]:
    """The orders there are: the files in this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def load(name: str) -> Order:
    """The order in the file of that name; raises UnknownOrder, naming those known."""
    known = names()
    if name not in known:
        raise UnknownOrder(
            f"There is no order '{name}'. Known orders: {', '.join(known)}.",
            details={"order": name, "known_orders": known},
        )
    return cast("Order", importlib.import_module(f"{__name__}.{name}"))


def leavers(
    sitters: Iterable[SeatHolder],
    target: Mapping[str, SeatLimit],
    *,
    order: str = DEFAULT,
    at_most: int | None = None,
) -> Mapping[str, Sequence[Leaver]]:
    """For each seat type of `target`: who would leave until no more than so many sit there.

    As many as are too many, or the first `at_most` of them.
    """
    seated: dict[str, list[SeatHolder]] = {seat_type: [] for seat_type in target}
    for holder in sitters:
        if holder.seat_type in seated:
            seated[holder.seat_type].append(holder)
    over = {seat_type: overage(limit, len(seated[seat_type])) for seat_type, limit in target.items()}
    return {
        seat_type: first_to_leave(
            seated[seat_type], count if at_most is None else min(count, at_most), order=order
        )
        for seat_type, count in over.items()
    }


def first_to_leave(sitters: Iterable[SeatHolder], count: int, *, order: str = DEFAULT) -> Sequence[Leaver]:
    """The first so many of them to leave; the same people every time, whatever order they come in."""
    chosen = load(order)
    # Of thousands a few are asked for, as a rule: that needs no sorting of all.
    leaving = nsmallest(count, sitters, key=lambda one: (one.protected, chosen.rank(one), one.member_id))
    return tuple(
        Leaver(place, holder, _reason(holder, chosen)) for place, holder in enumerate(leaving, start=1)
    )


def _reason(holder: SeatHolder, order: Order) -> str:
    reason = order.reason(holder)
    return f"protected: only after everybody else; {reason}" if holder.protected else reason
