"""Who decides about a claim: one file per policy, found by its name."""

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
    """All a policy may look at: one seat type of one account, and how many seats are asked for.

    `deadline` is the seat type's, once it has been stamped for being over the limit; `grace` is the time
    that a deadline still to be stamped gives.
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
            raise ValueError(f"requested {self.requested} with {self.used} used: not a claim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A policy's answer. `code` is stable. `to_buy` seats would have to be bought before the claim can be
    granted.
    """

    granted: bool
    code: str
    message: str
    to_buy: int = 0


class Policy(Protocol):
    """What a file in this folder must have.

    `HAS_DEADLINE` says whether being over the limit starts a clock, `BUYS` whether a claim beyond it may
    wait for a seat to be bought. `STRICTNESS` is its place among the policies, the strictest being 0.
    """

    HAS_DEADLINE: bool
    BUYS: bool
    STRICTNESS: int

    def decide(self, situation: Situation) -> Decision:
        """Whether the claim is granted; pure, and always the same for the same situation."""


class UnknownPolicy(SeatSyncError):
    """No file in this folder has that name."""

    code = "unknown_policy"


def names() -> tuple[str, ...]:
    """The policies there are: the files in this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def by_strictness() -> tuple[str, ...]:
    """The policies, the strictest first."""
    return tuple(sorted(names(), key=lambda name: load(name).STRICTNESS))


@cache
def load(name: str) -> Policy:
    """The policy in the file of that name; raises UnknownPolicy, naming those known."""
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


def way_back(missing: int, used: int, seat_type: str) -> str:
    """How to come back under the limit: `Release 1 full seat or buy as many more`.

    More seats than are used cannot be released: then buying is the only way.
    """
    words = seat_words(missing, seat_type)
    return f"Release {words} or buy as many more" if missing <= used else f"Buy {words} more"


def granted_within(situation: Situation) -> Decision:
    """The answer to a claim that stays within what was bought, which is every policy's answer."""
    used_after = situation.used + situation.requested
    message = f"Granted: {used_after} of {situation.purchased} {situation.seat_type} seats are then used."
    return Decision(granted=True, code="granted", message=message)
