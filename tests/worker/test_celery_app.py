"""The Celery app: what its options promise that no other test would see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from kombu.utils.imports import symbol_by_name

from runtime.settings import Settings
from tests.stack import free_port
from worker.celery_app import SeatSync


def test_beat_keeps_no_file_and_finds_every_job_due_at_its_start(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    app = SeatSync(Settings.from_env(environment))
    scheduler = symbol_by_name(app.conf.beat_scheduler)(app=app)
    due = {name for name in app.conf.beat_schedule if scheduler.schedule[name].is_due()[0]}
    scheduler.sync()
    scheduler.close()
    assert (due, list(tmp_path.glob("*schedule*"))) == ({"reconcile", "heartbeat", "housekeep"}, [])


def test_celery_says_nothing_about_root():
    root = subprocess.run(
        [sys.executable, "-c", _AS_ROOT],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert root.stderr == ""


_AS_ROOT = """
import os, warnings
from unittest import mock
with mock.patch("runtime.settings.Settings.from_env"), mock.patch("runtime.servers.existing_servers"):
    with mock.patch("worker.celery_app.SeatSync"):
        import worker.main
from celery import platforms
os.getuid = os.geteuid = lambda: 0
platforms.check_privileges(["json"])
"""


def test_a_broker_that_was_away_is_found_within_two_seconds_of_its_return(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    app = SeatSync(Settings.from_env({**environment, "REDIS_URL": nobody}))
    pauses: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
    with pytest.raises(OperationalError), app.connection_for_read() as broker:
        broker.ensure_connection(lambda _error, pause: pauses.append(pause), 30)
    assert len(pauses) >= 30
    assert max(pauses) <= 2
