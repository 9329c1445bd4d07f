"""`make chaos` in small: one fault of each kind, among them a PostgreSQL that is stopped at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import chaos
from tests.chaos import Chaos

SMALL = replace(
    chaos.FULL,
    deliveries=200,
    subscriptions=40,
    seconds=15,
    faults=dict.fromkeys(chaos.FULL.faults, 1),
)


@pytest.mark.long(seconds=60)
def test_whatever_fails_every_account_ends_right_and_nothing_acknowledged_is_lost(tmp_path: Path):
    with Chaos.running(tmp_path) as running:
        report = chaos.run(running, SMALL)
    assert report.wrong == []
