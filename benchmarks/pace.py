"""How long and how often to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """`seconds` is one round of a throughput; `size` scales what is counted instead of timed."""

    rounds: int
    seconds: float
    warm_up: float
    size: float


FULL = Pace(rounds=7, seconds=2.5, warm_up=1.5, size=1.0)
QUICK = Pace(rounds=1, seconds=0.7, warm_up=0.4, size=0.2)
