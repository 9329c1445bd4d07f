"""How pytest-xdist divides a run: a file stays in one process, and what takes longest begins first."""

from __future__ import annotations

import os
from typing import Final

import pytest

_SERVERS: Final = "seconds until PostgreSQL and Redis were ready"
_STARTS = pytest.StashKey[list[float]]()


def number_of(process: str) -> int:
    """The number of a test process: `gw3` is 3, a run in one process is 0."""
    return int(process.removeprefix("gw")) if process.startswith("gw") else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors, since tests also wait."""
    return min((os.cpu_count() or 1) + 1, 16)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test to the group of its file, or to a group of its own where it is marked `long`.

    A long run's tests begin first, the longest in front: what begins last decides when the run ends.
    """
    for item in items:
        mark = item.get_closest_marker("long")
        alone = mark is not None and mark.kwargs.get("alone", False)
        item.add_marker(pytest.mark.xdist_group(item.nodeid if alone else str(item.path)))
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("long")
    return 0 if mark is None else float(mark.kwargs["seconds"])


# How long the servers took to start, from the test processes to the closing lines.


def note_start(config: pytest.Config, seconds: float) -> None:
    if hasattr(config, "workeroutput"):
        config.workeroutput[_SERVERS] = seconds
    else:
        config.stash.setdefault(_STARTS, []).append(seconds)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    seconds = getattr(node, "workeroutput", {}).get(_SERVERS)
    if seconds is not None:
        node.config.stash.setdefault(_STARTS, []).append(seconds)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    starts = config.stash.get(_STARTS, [])
    if starts:
        terminalreporter.write_line(f"PostgreSQL and Redis were ready after {max(starts):.1f} s.")
