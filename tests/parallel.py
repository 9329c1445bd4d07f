"""How pytest-xdist divides a run: the tests of a file stay in one process, and the longest tests start first.

There is an own scheduler because pytest-xdist 3.8 loses the groups of `--dist=loadgroup` under pytest 9.2.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling

# Files whose tests are long and share no fixtures, so they may run in different processes.
SPREAD: Final = frozenset(
    {
        "tests/services/ledger/test_members_machine.py",
        "tests/services/sync/test_convergence.py",
        "tests/services/purchases/test_endings_machine.py",
        "tests/services/purchases/test_seat_changes_machine.py",
        "tests/services/sync/test_shifting_pages.py",
        "tests/services/sync/test_simulated_passes.py",
    }
)

_SERVERS: Final = "seconds until PostgreSQL and Redis were ready"
_STARTS = pytest.StashKey[list[float]]()


def number_of(process: str) -> int:
    """The number of a test process: 3 for `gw3`, 0 for a run in one process."""
    return int(process.removeprefix("gw")) if process.startswith("gw") else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors, because tests also wait."""
    return min((os.cpu_count() or 1) + 1, 16)


class Scheduler(LoadFileScheduling):
    """Assigns whole files to processes, but the tests of the files in `SPREAD` one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file in SPREAD else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> Scheduler:
    return Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests marked `long`, the longest first; started late, they would prolong the run."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("long")
    return 0 if mark is None else float(mark.kwargs["seconds"])


# How long the servers took to start: reported by each test process, shown at the end of the run.


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
