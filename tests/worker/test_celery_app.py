"""The Celery app: promises of its options that no other test covers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from celery.beat import Scheduler
from celery.worker import consumer
from kombu.exceptions import OperationalError
from kombu.utils.imports import symbol_by_name

import migrations
from domain.errors import NamespaceUnknown, SettingsError
from models.database import connect
from runtime import installation
from runtime.settings import Settings
from runtime.wiring import Runtime
from tests.servers import Databases
from tests.stack import free_port
from worker.celery_app import MOST_WAITING, SeatSync


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


def waiting(runtime: Runtime, app: SeatSync) -> list[dict]:
    """The messages that nobody has consumed yet."""
    prefix = app.conf.broker_transport_options["global_keyprefix"]
    return [
        json.loads(message)
        for queue in app.amqp.queues
        for message in runtime.redis.lrange(prefix + queue, 0, -1)
    ]


@pytest.fixture
def app(settings: Settings) -> SeatSync:
    return SeatSync(settings)


def send_everything(app: SeatSync) -> None:
    app.publish(["sub_1"])
    app.wake_notices()
    app.wake_reconcile()
    app.wake_changes()
    beat = Scheduler(app, lazy=True)
    beat.setup_schedule()
    beat.merge_inplace(app.conf.beat_schedule)
    for entry in beat.schedule.values():
        beat.apply_entry(entry)


def test_no_message_carries_a_time_that_a_wrong_clock_could_misjudge(runtime: Runtime, app: SeatSync):
    send_everything(app)
    sent = waiting(runtime, app)
    assert len(sent) >= 7
    assert {(one["headers"]["expires"], one["headers"]["eta"]) for one in sent} == {(None, None)}
    assert {one["properties"].get("expiration") for one in sent} == {None}


def test_the_queues_do_not_grow_while_no_worker_runs(runtime: Runtime, app: SeatSync):
    for _ in range(MOST_WAITING):
        send_everything(app)
    assert len(waiting(runtime, app)) == 2 * MOST_WAITING


def test_a_full_queue_of_slow_tasks_does_not_stop_wake_ups_for_syncs(runtime: Runtime, app: SeatSync):
    for _ in range(MOST_WAITING + 1):
        app.wake_notices()
    app.publish(["sub_1"])
    assert waiting(runtime, app)[0]["headers"]["task"] == "seatsync.sync"
    assert len(waiting(runtime, app)) == MOST_WAITING + 1


def test_only_syncs_go_to_the_queue_of_the_syncs(runtime: Runtime, app: SeatSync):
    send_everything(app)
    syncs = app.amqp.queues["syncs"].name
    sent = {one["headers"]["task"] for one in waiting(runtime, app) if routed_to(one) == syncs}
    assert sent == {"seatsync.sync"}


def routed_to(message: dict) -> str:
    return message["properties"]["delivery_info"]["routing_key"]


def test_a_queue_that_was_full_takes_wake_ups_again_once_it_is_empty(runtime: Runtime, app: SeatSync):
    for _ in range(MOST_WAITING + 1):
        app.wake_notices()
    runtime.redis.flushdb()
    app.wake_notices()
    assert len(waiting(runtime, app)) == 1


def test_without_its_database_nothing_is_published(environment: dict[str, str]):
    nowhere = {**environment, "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"}
    with pytest.raises(NamespaceUnknown):
        SeatSync(Settings.from_env(nowhere)).publish(["sub_1"])


def test_a_worker_that_starts_before_the_migration_waits_for_it(
    environment: dict[str, str], postgres: Databases
):
    url = postgres.create_database("unmigrated")
    app = SeatSync(Settings.from_env({**environment, "DATABASE_URL": url}))
    starting = threading.Thread(target=app.take_names, kwargs={"wait": True})
    starting.start()
    time.sleep(0.2)
    assert starting.is_alive()
    engine = connect(url)
    migrations.upgrade(engine)
    engine.dispose()
    starting.join(10)
    assert not starting.is_alive()
    assert app.conf.broker_transport_options["global_keyprefix"].startswith("seatsync:")


def test_a_worker_whose_database_was_unreachable_at_first_checks_its_mode(
    environment: dict[str, str], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    installation.bind(runtime.sessions, runtime.settings)
    live = {**environment, "DODO_PAYMENTS_ENVIRONMENT": "live_mode"}
    app = SeatSync(
        Settings.from_env({**live, "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/x"})
    )
    back = Settings.from_env(live)
    monkeypatch.setattr(app, "take_names", lambda *, wait: setattr(app, "settings", back))
    with pytest.raises(SettingsError, match="belongs to test_mode"):
        app.wait_for_database()


def test_on_rabbitmq_the_queue_itself_has_the_name_of_its_database(environment: dict[str, str]):
    app = SeatSync(Settings.from_env({**environment, "CELERY_BROKER_URL": "amqp://guest@127.0.0.1:9//"}))
    app.take_names()
    assert app.conf.task_default_queue.startswith("seatsync.")
    name = app.conf.task_default_queue
    assert list(app.amqp.queues) == [name, f"{name}.slow"]


def test_a_worker_prepares_everything_that_celery_does_but_delayed_tasks(environment: dict[str, str]):
    app = SeatSync(Settings.from_env(environment))
    ours = symbol_by_name(app.conf.worker_consumer).Blueprint.default_steps
    (left_out,) = set(consumer.Consumer.Blueprint.default_steps) - set(ours)
    assert left_out.endswith("DelayedDelivery")
