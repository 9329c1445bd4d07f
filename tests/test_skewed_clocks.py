"""A worker whose clock is wrong does its work like any other: no time of its own decides anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import CATALOG_TEXT
from tests.servers import Databases, RedisDatabases
from tests.stack import Stack, all_equal, wait_until

ACCOUNTS = 10

# Read by every Python process of the stack before its own first line.
SKEW = """
import datetime, os, sys, time

if any(os.path.basename(word) == "celery" for word in sys.orig_argv) and "worker" in sys.orig_argv:
    SKEW = float(os.environ["SKEW_SECONDS"])
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


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    return tmp_path / "proof"


@pytest.fixture
def stack(
    postgres: Databases, redis_databases: RedisDatabases, tmp_path: Path, proof: Path, skew: int
) -> Iterator[Stack]:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG_TEXT, encoding="utf-8")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SKEW, encoding="utf-8")
    with Stack(
        tmp_path / "stack",
        database_url=postgres.create_database("skewed"),
        redis_url=redis_databases.empty_database(1),
        catalog=catalog,
        PYTHONPATH=str(site),
        SKEW_SECONDS=str(skew),
        SKEW_PROOF=str(proof),
        SEATSYNC_SWEEP_SECONDS="60",
    ) as stack:
        stack.start()
        yield stack
    postgres.drop_database("skewed")


@pytest.mark.parametrize("skew", [90, -3600])
def test_a_worker_whose_clock_is_wrong_syncs_everything(stack: Stack, proof: Path, skew: int):
    """The sweep, which would work off what a worker leaves, is too slow to help here."""
    wanted = {}
    for number in range(ACCOUNTS):
        stack.subscribe(f"account-{number}", seats=number)
        wanted[f"account-{number}"] = 5 + number
    wait_until(all_equal(stack, wanted), "every account is right", stack.log, seconds=30)
    assert set(proof.read_text().split()) == {str(skew)}
    assert stack.get("/readyz").json()["status"] == "ready"
