"""How long and how often to measure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a benchmark runs.

    `rounds` undisturbed pairs of rounds are wanted, and at most `tries` pairs are measured. A timed round
    takes `seconds`, after `warm_up` seconds. `size` scales the rounds that process a fixed number of items.
    """

    rounds: int
    tries: int
    seconds: float
    warm_up: float
    size: float

    def at_most(self, rounds: int) -> Pace:
        """The same with so many rounds at most, for rounds that take longer than the timed ones."""
        fewer = min(self.rounds, rounds)
        return replace(self, rounds=fewer, tries=min(self.tries, fewer + 2))


FULL = Pace(rounds=15, tries=20, seconds=0.5, warm_up=1.5, size=1.0)
QUICK = Pace(rounds=1, tries=1, seconds=0.5, warm_up=0.3, size=0.15)
