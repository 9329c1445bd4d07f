"""The Celery app and its options, each with its reason.

A task is a wake-up: it tells a worker to look into the database, which holds all work to do. So a task that
is lost, repeated or late does no harm.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from datetime import timedelta

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection

from domain.errors import NamespaceUnknown
from models import scheduled_job
from models.database import connect, session_factory
from runtime import installation, schema
from runtime.settings import Settings
from runtime.wiring import Runtime, build, namespace_of
from worker import queues

log = logging.getLogger(__name__)

# While a queue has this many messages, wake-ups are dropped; the sweep repeats them. None of them expires,
# because an expiry is set by the publisher's clock and checked by the worker's.
MOST_WAITING = 200
_DATABASE_PAUSE_SECONDS = 1.0

_SHORT_PAUSES = {"interval_start": 1, "interval_step": 1, "interval_max": 2}


class BrokerConnection(Connection):  # type: ignore[misc]  # kombu is not typed
    """Reconnects every one or two seconds.

    kombu lengthens its pause by two seconds with each attempt, up to thirty, so workers would stay idle for
    half a minute after a long outage.
    """

    def ensure_connection(self, *args: object, **options: object) -> Connection:
        """As in kombu, with pauses of one second and then two."""
        return super().ensure_connection(*args, **{**_SHORT_PAUSES, **options})


class Broker(AMQP):  # type: ignore[misc]  # Celery is not typed
    """Celery's AMQP layer, with such connections."""

    Connection = BrokerConnection


class SeatSync(Celery):  # type: ignore[misc]  # Celery is not typed
    """A Celery app with the service's settings and, in each process, a runtime built from them."""

    amqp_cls = Broker

    def __init__(self, settings: Settings, *, patience: float = 5.0) -> None:
        """`patience` is how many seconds to wait for a broker that does not answer."""
        super().__init__("seatsync", broker=settings.broker_url, include=["worker.tasks"])
        self.settings = settings
        self._patience = patience
        self._runtime: Runtime | None = None
        self._built_in: int | None = None
        self._is_named = False
        self._full: set[str] = set()
        self.conf.update(_options(settings, patience))
        self._name_queues("seatsync")

    def check_database(self) -> None:
        """Raise `SettingsError` if the database must be migrated, or belongs to another mode or business."""
        engine = connect(str(self.settings.database_url), pool_size=1, application="seatsync-start")
        try:
            schema.require(session_factory(engine))
            installation.bind(session_factory(engine), self.settings)
        finally:
            engine.dispose()

    def wait_for_database(self) -> None:
        """Wait until the database can be read, and name the queues after it. Raises like `check_database`."""
        self.check_database()
        self.take_names(wait=True)
        self.check_database()

    def take_names(self, *, wait: bool = False) -> None:
        """Name the queues, or the keys in Redis, after the database, so that two services can share a broker.

        Must run before the broker is used; later calls do nothing. If the database cannot be read, `wait` for
        it or raise `NamespaceUnknown`.
        """
        while not self._is_named:
            try:
                prefix = namespace_of(str(self.settings.database_url))
            except NamespaceUnknown as error:
                if not wait:
                    raise
                log.warning("database unreachable", extra={"reason": error.message})
                time.sleep(_DATABASE_PAUSE_SECONDS)
            else:
                if _is_redis(self.settings):
                    self.conf.broker_transport_options["global_keyprefix"] = prefix
                else:
                    self._name_queues(prefix.rstrip(":").replace(":", "."))
                self._is_named = True

    def _name_queues(self, name: str) -> None:
        self.conf.task_default_queue = name
        self.conf.task_queues = queues.queues(name, survive_node=not _is_redis(self.settings))

    def send_task(self, name: str, *args: object, **options: object) -> object:
        """As in Celery, but a task for one of our own queues is dropped if that queue is full, which it is
        while no worker runs. The work to do stays in the database.
        """
        self.take_names()
        if options.get("queue") is None and self._is_full(queues.alias_of(name)):
            return None
        return super().send_task(name, *args, **options)

    def _is_full(self, alias: str) -> bool:
        queue = self.amqp.queues[alias]
        with self.producer_pool.acquire(block=True) as producer:
            waiting = queue(producer.channel).queue_declare().message_count
        if waiting < MOST_WAITING:
            self._full.discard(alias)
        elif alias not in self._full:
            self._full.add(alias)
            log.warning("queue full, wake-ups dropped", extra={"queue": queue.name, "waiting": waiting})
        return alias in self._full

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process, built at first use: connections must not be shared across a fork."""
        if self._runtime is None or self._built_in != os.getpid():
            self._runtime, self._built_in = build(self.settings), os.getpid()
        return self._runtime

    def publish(self, subscription_ids: Sequence[str]) -> None:
        """Wake a worker to sync these subscriptions. If the broker is unreachable, raises its client's error
        within about two seconds.
        """
        self._send_wake_up("seatsync.sync", list(subscription_ids))

    def wake_notices(self) -> None:
        """Wake a worker to send due notices. Raises like `publish`."""
        self._send_wake_up("seatsync.notify")

    def wake_reconcile(self) -> None:
        """Wake a worker to reconcile. Raises like `publish`."""
        self._send_wake_up("seatsync.reconcile")

    def wake_changes(self) -> None:
        """Wake a worker to settle seat changes and to buy seats for pending claims. Raises like `publish`."""
        self._send_wake_up("seatsync.settle")

    def _send_wake_up(self, task: str, *arguments: object) -> None:
        self.send_task(
            task,
            args=list(arguments),
            retry=False,
            confirm_timeout=self._patience,  # RabbitMQ only: without it a frozen one blocks for ever
        )


def _options(settings: Settings, patience: float) -> dict[str, object]:
    on_redis = _is_redis(settings)
    return {
        # JSON only: pickle would run code that anybody who can write to the broker sends.
        "accept_content": ["json"],
        "task_serializer": "json",
        # Nobody reads results; without a backend there are no result keys, leaks or pub/sub deadlocks.
        "result_backend": None,
        "task_ignore_result": True,
        "task_routes": queues.ROUTES,
        # The task of a killed child process is requeued at once. If it kills its child every time, the
        # attempt counter in the row ends that.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A task waiting in prefetch counts against the visibility timeout, so none waits there.
        "worker_prefetch_multiplier": 1,
        # Well under half the visibility timeout, or a slow task would be started twice.
        "task_soft_time_limit": 20,
        "task_time_limit": 30,
        # Against slow leaks; a child is replaced in milliseconds.
        "worker_max_tasks_per_child": 10_000,
        "worker_max_memory_per_child": 300_000,  # KiB
        # On SIGTERM (with REMAP_SIGTERM=SIGQUIT) running tasks get this long, then unfinished ones return to
        # the queue. Without it they would return only after the visibility timeout.
        "worker_soft_shutdown_timeout": 8,
        # Safe because every task may run twice, and the default of the next major version.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # Wait for an unreachable broker, at start or later, without a limit.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": _redis_options(patience) if on_redis else {"confirm_publish": True},
        # The web process must not hang on a publish: one quick retry, then leave it to the sweep.
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
        },
        # Only `celery inspect` uses remote control; nothing reads events.
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "timezone": "UTC",
        # Celery's default scheduler writes a file into the working directory.
        "beat_scheduler": "worker.scheduler:EagerScheduler",
        "beat_schedule": _beat_schedule(settings),
    }


def _beat_schedule(settings: Settings) -> dict[str, object]:
    return {
        "reconcile": {
            "task": "seatsync.reconcile",
            # More often than the period: the database decides what is due, so a beat that starts late,
            # again or twice neither loses nor doubles a pass. The sweep wakes workers for it too.
            "schedule": timedelta(seconds=min(60.0, settings.reconcile_seconds / 2)),
        },
        "heartbeat": {
            "task": "seatsync.heartbeat",
            "schedule": scheduled_job.EVERY_HEARTBEAT / 2,
        },
        "housekeep": {
            "task": "seatsync.housekeep",
            # More often than once an hour, which the database ensures: a beat that restarts every half
            # hour would never reach a longer interval.
            "schedule": timedelta(minutes=10),
        },
    }


def _is_redis(settings: Settings) -> bool:
    return (settings.broker_url or "").startswith("redis")


def _redis_options(patience: float) -> dict[str, object]:
    return {
        # After a whole worker dies, its tasks return after this long; the default is an hour.
        "visibility_timeout": 120,
        # Check for that every five seconds, not every hundred as kombu does by default.
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # A hung or half-open Redis blocks a publisher for 40 s and a worker for minutes without these
        # (measured); with them a worker consumes again after five seconds.
        "socket_timeout": patience,
        "socket_connect_timeout": min(patience, 2.0),
        "socket_keepalive": True,
        "health_check_interval": 10,
        # `retry=False` alone still blocks a publisher for six seconds when Redis refuses.
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.1,
    }
