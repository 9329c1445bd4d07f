"""`make backlog` in small: a backlog after an outage is worked off within the provider's allowance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import backlog
from tests.backlog import Plan
from tests.servers import Databases, RedisDatabases
from tests.stack import Stack

SMALL = Plan(subscriptions=500, speed=10)


@pytest.mark.long(seconds=45)
def test_a_backlog_is_worked_off_within_the_allowance_and_delays_nobody_who_presses_sync(
    postgres: Databases, redis_databases: RedisDatabases, catalog_file: Path, tmp_path: Path
):
    with Stack(
        tmp_path,
        database_url=postgres.create_database("backlog"),
        redis_url=redis_databases.empty_database(1),
        catalog=catalog_file,
        SEATSYNC_PROVIDER_RATE=SMALL.rate,
    ) as stack:
        stack.start()
        report = backlog.run(stack, SMALL)
    assert report.wrong == []
