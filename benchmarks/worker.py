"""The real worker with an additional empty task, so that the baseline runs in the same processes."""

from __future__ import annotations

from benchmarks.baselines import EMPTY
from worker.main import app


@app.task(name=EMPTY)
def empty() -> None:
    """Do nothing."""
