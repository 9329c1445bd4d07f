"""Garbage collection in the processes that run for long."""

from __future__ import annotations

import gc
from typing import Final

# How many objects are created between two collections, and how many collections of one generation between
# two of the next. Python's 700 and 10 suit programs with few objects. A batch of list pages is 20,000, nearly
# all of which reference counting frees; each collection on the way would scan them for nothing.
_THRESHOLDS: Final = (50_000, 20, 20)


def exclude_present_objects() -> None:
    """Never collect the objects that exist now, after the start: they are the process' own and never garbage.
    Scanning them would take about 0.1 seconds each time.
    """
    gc.collect()
    gc.freeze()


def collect_rarely() -> None:
    """Collect garbage less often, for processes that handle many objects at a time."""
    gc.set_threshold(*_THRESHOLDS)
