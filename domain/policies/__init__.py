"""Policies decide whether a claim is granted. Each file in this folder is one policy, loaded by its name.

A new policy also needs a row in docs/limits.md. If it refuses claims with a code of its own, `_REFUSAL` in
`services/ledger/claims.py` maps the code to its error. Catalogues that state `policy_order` must list it.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Protocol, cast

from domain.errors import SeatSyncError
from domain.seat_limit import SeatLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a policy can see: one seat type of an account, and the number of requested seats.

    `deadline` is set once the type is over its limit under a policy with a deadline. `grace` is the length of
    a grace period that would start now.
    """

    seat_type: str
    purchased: SeatLimit
    used: int
    requested: int = 1
    now: datetime
    deadline: datetime | None = None
    grace: timedelta = timedelta()

    def __post_init__(self) -> None:
        if self.requested < 1 or self.used < 0:
            raise ValueError(f"not a claim: {self.requested} requested, {self.used} used")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A policy's decision. `code` is stable and machine-readable. `to_buy` seats must be bought before the
    claim can be granted.
    """

    granted: bool
    code: str
    message: str
    to_buy: int = 0


class Policy(Protocol):
    """The interface of a policy file.

    `HAS_DEADLINE`: whether an overage starts a grace period. `BUYS`: whether a claim over the limit may wait
    for a seat to be bought. `STRICTNESS`: the rank among the policies, 0 being the strictest.
    """

    HAS_DEADLINE: bool
    BUYS: bool
    STRICTNESS: int

    def decide(self, situation: Situation) -> Decision:
        """Decide the claim. Pure: the same situation always gives the same decision."""


class UnknownPolicy(SeatSyncError):
    """There is no policy with that name."""

    code = "unknown_policy"


def names() -> tuple[str, ...]:
    """The names of all policies, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def by_strictness() -> tuple[str, ...]:
    """The names of all policies, the strictest first."""
    return tuple(sorted(names(), key=lambda name: load(name).STRICTNESS))


@cache
def load(name: str) -> Policy:
    """Load the policy with that name. Raises `UnknownPolicy`."""
    known = names()
    if name not in known:
        raise UnknownPolicy(
            f"There is no policy '{name}'. Known policies: {', '.join(known)}.",
            details={"policy": name, "known_policies": known},
        )
    return cast("Policy", importlib.import_module(f"{__name__}.{name}"))


def seat_words(count: int, seat_type: str) -> str:
    """`1 full seat`, `3 full seats`."""
    return f"{count} {seat_type} seat{'' if count == 1 else 's'}"


def how_to_get_within_limit(missing: int, used: int, seat_type: str) -> str:
    """How to get within the limit, such as `Release 1 full seat or buy as many more`.

    If more seats are missing than are used, releasing is not enough, so only buying is offered.
    """
    words = seat_words(missing, seat_type)
    return f"Release {words} or buy as many more" if missing <= used else f"Buy {words} more"


def granted_within_limit(situation: Situation) -> Decision:
    """The decision for a claim within the purchased seats; it is the same under every policy."""
    used_after = situation.used + situation.requested
    message = f"Granted: {used_after} of {situation.purchased} {situation.seat_type} seats are then used."
    return Decision(granted=True, code="granted", message=message)
