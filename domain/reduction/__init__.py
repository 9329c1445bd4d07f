"""Reduction orders: which members leave first if there are too many. Each file here is one order."""

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
    """A member who uses a seat, with all that an order can see.

    `claimed_at` is when the seat was claimed, or the invitation sent. `last_active_at` is reported by the
    app.
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
    """A seat holder, the place in the order (1 leaves first), and the reason for it."""

    place: int
    holder: SeatHolder
    reason: str


class Order(Protocol):
    """The interface of an order file. Protected members and ties are handled by the caller."""

    def rank(self, holder: SeatHolder) -> Rank:
        """The holder's rank; the lowest leaves first. Pure; all ranks have the same length."""

    def reason(self, holder: SeatHolder) -> str:
        """Why the holder has that rank, in words."""


class UnknownOrder(SeatSyncError):
    """There is no order with that name."""

    code = "unknown_order"


def names() -> tuple[str, ...]:
    """The names of all orders, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def load(name: str) -> Order:
    """Load the order with that name. Raises `UnknownOrder`."""
    known = names()
    if name not in known:
        raise UnknownOrder(
            f"There is no order '{name}'. Known orders: {', '.join(known)}.",
            details={"order": name, "known_orders": known},
        )
    return cast("Order", importlib.import_module(f"{__name__}.{name}"))


def leavers(
    seat_holders: Iterable[SeatHolder],
    target: Mapping[str, SeatLimit],
    *,
    order: str = DEFAULT,
    at_most: int | None = None,
) -> Mapping[str, Sequence[Leaver]]:
    """For each seat type of `target`: the members who would have to leave to reach that number of seats, or
    the first `at_most` of them.
    """
    by_type: dict[str, list[SeatHolder]] = {seat_type: [] for seat_type in target}
    for holder in seat_holders:
        if holder.seat_type in by_type:
            by_type[holder.seat_type].append(holder)
    over = {seat_type: overage(limit, len(by_type[seat_type])) for seat_type, limit in target.items()}
    return {
        seat_type: first_to_leave(
            by_type[seat_type], count if at_most is None else min(count, at_most), order=order
        )
        for seat_type, count in over.items()
    }


def first_to_leave(
    seat_holders: Iterable[SeatHolder], count: int, *, order: str = DEFAULT
) -> Sequence[Leaver]:
    """The first `count` seat holders to leave. The result does not depend on the order of the input."""
    chosen = load(order)
    # Usually a few out of thousands are needed, so sorting all of them would be wasteful.
    leaving = nsmallest(count, seat_holders, key=lambda one: (one.protected, chosen.rank(one), one.member_id))
    return tuple(
        Leaver(place, holder, _reason(holder, chosen)) for place, holder in enumerate(leaving, start=1)
    )


def _reason(holder: SeatHolder, order: Order) -> str:
    reason = order.reason(holder)
    return f"protected: only after everybody else; {reason}" if holder.protected else reason
