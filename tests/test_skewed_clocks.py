"""A worker whose clock is wrong does its work like any other: no time of its own decides anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.factories import CATALOG_TEXT
from tests.servers import Databases, RedisDatabases
from tests.stack import Stack, all_equal, wait_until

ACCOUNTS = 10

# Read by every Python process of the stack before its own first line.
SKEW = """
import datetime, os, sys, time

if any(os.path.basename(word) == "celery" for word in sys.orig_argv) and "worker" in sys.orig_argv:
    SKEW = float(open(os.environ["SKEW_FILE"]).read())
    true_time, true_time_ns, TrueDatetime = time.time, time.time_ns, datetime.datetime
    time.time = lambda: true_time() + SKEW
    time.time_ns = lambda: true_time_ns() + int(SKEW * 1e9)

    class Meta(type):
        def __instancecheck__(cls, one):
            return isinstance(one, TrueDatetime)

        def __subclasscheck__(cls, other):
            return issubclass(other, TrueDatetime)

    class Skewed(TrueDatetime, metaclass=Meta):
        __slots__ = ()

        @classmethod
        def now(cls, tz=None):
            return TrueDatetime.now(tz) + datetime.timedelta(seconds=SKEW)

        @classmethod
        def utcnow(cls):
            return TrueDatetime.utcnow() + datetime.timedelta(seconds=SKEW)

    datetime.datetime = Skewed
    open(os.environ["SKEW_PROOF"], "a").write(f"{time.time() - true_time():.0f}\\n")
"""

pytestmark = pytest.mark.long(seconds=30, alone=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("skewed")


@pytest.fixture(scope="module")
def started(postgres: Databases, redis_databases: RedisDatabases, folder: Path) -> Iterator[Stack]:
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG_TEXT, encoding="utf-8")
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SKEW, encoding="utf-8")
    (folder / "skew").write_text("0", encoding="utf-8")
    with Stack(
        folder / "stack",
        database_url=postgres.create_database("skewed"),
        redis_url=redis_databases.empty_database(1),
        catalog=catalog,
        PYTHONPATH=str(site),
        SKEW_FILE=str(folder / "skew"),
        SKEW_PROOF=str(folder / "proof"),
        SEATSYNC_SWEEP_SECONDS="60",
    ) as stack:
        stack.start()
        yield stack
    postgres.drop_database("skewed")


@pytest.fixture
def stack(started: Stack, folder: Path, skew: int) -> Stack:
    """With a new worker, whose clock is wrong by so many seconds, and nothing left of the one before."""
    (folder / "skew").write_text(str(skew), encoding="utf-8")
    (folder / "proof").unlink()
    former = started.children("worker")
    started.kill("worker")
    psutil.wait_procs(former)
    wait_until(lambda: started.children("worker"), "the worker has its children", started.log)
    return started


@pytest.mark.parametrize("skew", [90, -3600])
def test_a_worker_whose_clock_is_wrong_syncs_everything(stack: Stack, folder: Path, skew: int):
    """The sweep, which would work off what a worker leaves, is too slow to help here."""
    wanted = {}
    for number in range(ACCOUNTS):
        stack.subscribe(f"account-{number} at {skew}", seats=number)
        wanted[f"account-{number} at {skew}"] = 5 + number
    wait_until(all_equal(stack, wanted), "every account is right", stack.log, seconds=30)
    assert set((folder / "proof").read_text().split()) == {str(skew)}
    assert stack.get("/readyz").json()["status"] == "ready"
