"""The real worker, with one task more that does nothing: the baseline runs in the very same processes."""

from __future__ import annotations

from benchmarks.baselines import EMPTY
from worker.main import app


@app.task(name=EMPTY)
def empty() -> None:
    """Nothing."""
