"""The Celery app: every option with its reason. Tasks are doorbells; nothing is lost with one."""

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

log = logging.getLogger(__name__)

# A wake-up carries nothing that is not also in the database, so none need be kept beside so many. None
# expires: an expiry is a time by the publisher's clock, judged by the worker's.
MOST_WAITING = 200
_PAUSE_SECONDS = 1.0

_EAGER = {"interval_start": 1, "interval_step": 1, "interval_max": 2}


class BrokerConnection(Connection):  # type: ignore[misc]  # kombu is not typed
    """A connection that asks every second or two whether a broker that was away is back.

    kombu adds two seconds to its pause with every try, up to thirty: after a long outage everybody
    would sit idle for half a minute more.
    """

    def ensure_connection(self, *args: object, **options: object) -> Connection:
        """As kombu's, with pauses of one second and then two."""
        return super().ensure_connection(*args, **{**_EAGER, **options})


class Broker(AMQP):  # type: ignore[misc]  # Celery is not typed
    """Celery's own way to the broker, on such connections."""

    Connection = BrokerConnection


class SeatSync(Celery):  # type: ignore[misc]  # Celery is not typed
    """A Celery app that knows its settings and, in each process, the runtime built from them."""

    amqp_cls = Broker

    def __init__(self, settings: Settings, *, patience: float = 5.0) -> None:
        """`patience` is how many seconds a silent broker is waited for."""
        super().__init__("seatsync", broker=settings.broker_url, include=["worker.tasks"])
        self.settings = settings
        self._patience = patience
        self._runtime: Runtime | None = None
        self._built_in: int | None = None
        self._is_named = False
        self._is_full = False
        self.conf.update(_options(settings, patience))

    def check_database(self) -> None:
        """Raises `SettingsError` if the database must be migrated, or belongs to another mode or business."""
        engine = connect(str(self.settings.database_url), pool_size=1, application="seatsync-start")
        try:
            schema.require(session_factory(engine))
            installation.claim(session_factory(engine), self.settings)
        finally:
            engine.dispose()

    def wait_for_database(self) -> None:
        """Take its names from the database, once that can be read. Raises what `check_database` raises, also
        if the database was away at first.
        """
        self.check_database()
        self.take_names(wait=True)
        self.check_database()

    def take_names(self, *, wait: bool = False) -> None:
        """Name queue and keys after the database, so that nothing is shared with another one's service.

        Needed before the broker is used, and done at most once. Raises `NamespaceUnknown` while the database
        cannot be read, or waits for it.
        """
        while not self._is_named:
            try:
                prefix = namespace_of(str(self.settings.database_url))
            except NamespaceUnknown as unknown:
                if not wait:
                    raise
                log.warning("database unreachable", extra={"reason": unknown.message})
                time.sleep(_PAUSE_SECONDS)
            else:
                if _is_redis(self.settings):
                    self.conf.broker_transport_options["global_keyprefix"] = prefix
                else:
                    self.conf.task_default_queue = prefix.rstrip(":").replace(":", ".")
                self._is_named = True

    def send_task(self, name: str, *args: object, **options: object) -> object:
        """As Celery's. A wake-up for our own queue is dropped while that is full because nobody consumes it:
        the rows say what is to be done.
        """
        self.take_names()
        if options.get("queue") is None and self._has_no_room():
            return None
        return super().send_task(name, *args, **options)

    def _has_no_room(self) -> bool:
        queue = self.amqp.queues[self.conf.task_default_queue]
        with self.producer_pool.acquire(block=True) as producer:
            waiting = queue(producer.channel).queue_declare().message_count
        was_full, self._is_full = self._is_full, waiting >= MOST_WAITING
        if self._is_full and not was_full:
            log.warning("queue full, wake-ups dropped", extra={"queue": queue.name, "waiting": waiting})
        return self._is_full

    @property
    def runtime(self) -> Runtime:
        """This process's own connections: built at first use, so never carried across a fork."""
        if self._runtime is None or self._built_in != os.getpid():
            self._runtime, self._built_in = build(self.settings), os.getpid()
        return self._runtime

    def publish(self, subscription_ids: Sequence[str]) -> None:
        """Ring for these subscriptions; raises within a second or two if the broker is away."""
        self._ring("seatsync.sync", list(subscription_ids))

    def wake_notices(self) -> None:
        """Ring for the notices that are due; raises like `publish`."""
        self._ring("seatsync.notify")

    def wake_reconcile(self) -> None:
        """Ring for what is due of it; raises like `publish`."""
        self._ring("seatsync.reconcile")

    def wake_changes(self) -> None:
        """Ring for seat changes that are to be settled, or to be made for claims that wait; raises like
        `publish`.
        """
        self._ring("seatsync.settle")

    def _ring(self, task: str, *arguments: object) -> None:
        self.send_task(
            task,
            args=list(arguments),
            retry=False,
            confirm_timeout=self._patience,  # RabbitMQ; without it a frozen one is waited for without end
        )


def _options(settings: Settings, patience: float) -> dict[str, object]:
    on_redis = _is_redis(settings)
    return {
        # JSON alone is ever unpickled from a broker that others may write to.
        "accept_content": ["json"],
        "task_serializer": "json",
        # Nobody reads results; without a backend there are no result keys, leaks or pub/sub deadlocks.
        "result_backend": None,
        "task_ignore_result": True,
        "task_default_queue": "seatsync",
        # RabbitMQ: only quorum queues survive a broker's death with their messages. Redis ignores it.
        "task_default_queue_type": "classic" if on_redis else "quorum",
        # A child that is killed gives its task back at once; the attempt counter in the row is the
        # brake for a task that kills its child every time.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A task waiting in prefetch counts against the visibility timeout, so none waits there.
        "worker_prefetch_multiplier": 1,
        # Well under half the visibility timeout, or a slow task would be started twice.
        "task_soft_time_limit": 20,
        "task_time_limit": 30,
        # A net under slow leaks; children are replaced in milliseconds.
        "worker_max_tasks_per_child": 10_000,
        "worker_max_memory_per_child": 300_000,  # KiB
        # On SIGTERM (with REMAP_SIGTERM=SIGQUIT) running tasks get this long, then everything unfinished
        # goes back to the queue; without it a container's stop leaves all of it to the visibility timeout.
        "worker_soft_shutdown_timeout": 8,
        # Safe because every task may run twice, and the default of the next major version.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # A broker that is away, at start or later, is waited for, for as long as it takes.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": _redis_options(patience) if on_redis else {"confirm_publish": True},
        # The web process must never hang on a publish: one quick retry, then the sweep will ring.
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
        },
        # Nothing listens to remote control beyond `celery inspect`; events stay off by default.
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "timezone": "UTC",
        # Celery's own would write into the working folder.
        "beat_scheduler": "worker.scheduler:EagerScheduler",
        "beat_schedule": {
            "reconcile": {
                "task": "seatsync.reconcile",
                # More often than the period: rows decide what is due of it, so a beat that starts late,
                # or again, or twice, neither loses a pass nor doubles one. The sweeper rings for it too.
                "schedule": timedelta(seconds=min(60.0, settings.reconcile_seconds / 2)),
            },
            "heartbeat": {
                "task": "seatsync.heartbeat",
                "schedule": scheduled_job.EVERY_HEARTBEAT / 2,
            },
            "housekeep": {
                "task": "seatsync.housekeep",
                # Rows decide here too: a beat that starts anew every half hour would else never come to it.
                "schedule": timedelta(minutes=10),
            },
        },
    }


def _is_redis(settings: Settings) -> bool:
    return (settings.broker_url or "").startswith("redis")


def _redis_options(patience: float) -> dict[str, object]:
    return {
        # A whole worker that dies: its tasks are back after this long, not after the default hour ...
        "visibility_timeout": 120,
        # ... and not rounded up to the next hundred seconds, which is kombu's default cadence.
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # A hung or half-open Redis blocks for ever without these (40 s for a publisher, minutes for a
        # worker's loop, measured); with them a worker consumes again after five seconds.
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
