"""Who decides about a claim: one file per policy, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Protocol, cast

from seats.errors import SeatSyncError
from seats.limit import SeatLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All a policy may look at: one seat type of one account, and how many seats are asked for.

    `deadline` is the account's, once it has been stamped for being over the limit.
    """

    seat_type: str
    purchased: SeatLimit
    used: int
    requested: int = 1
    now: datetime
    deadline: datetime | None = None

    def __post_init__(self) -> None:
        if self.requested < 1 or self.used < 0:
            raise ValueError(f"requested {self.requested} with {self.used} used: not a claim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A policy's answer. `code` is stable; `overage` is what the seat type is over by once it is granted."""

    granted: bool
    code: str
    message: str
    overage: int = 0


class Policy(Protocol):
    """What a file in this folder must have."""

    def decide(self, situation: Situation) -> Decision:
        """Whether the claim is granted; pure, and always the same for the same situation."""


class UnknownPolicy(SeatSyncError):
    """No file in this folder has that name."""

    code = "unknown_policy"


def names() -> tuple[str, ...]:
    """The policies there are: the files in this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


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
