"""Events processed per second in bursts of ten, against an empty task per event in a bare Celery worker.

Both workers have the same flags and run all the time; one is idle while the other is measured.

Both sides start with a full queue and end when the queue is empty and every task is acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from celery import Celery
from redis import Redis
from sqlalchemy import text

from benchmarks import bodies
from benchmarks.bare import worker as bare
from benchmarks.pace import Pace
from benchmarks.report import Row, compare
from benchmarks.servers import Servers, Site, await_true
from models import inbox
from models.inbox import Arrival, InboxState
from runtime.wiring import Runtime
from worker.celery_app import SeatSync

BAR = 3.0
PER_SUBSCRIPTION = 10
_SUBSCRIPTIONS = 400
_ROUNDS = 7
_IDS_PER_WAKE_UP = 50
_TIMEOUT_SECONDS = 60.0

# Tasks are queued in a list of another name. Renaming it to the worker's queue starts them all at once.
_PREPARED = "prepared"

_rounds = count(1)


def run(servers: Servers, pace: Pace) -> list[Row]:
    ids = [f"sub_{n}" for n in range(round(_SUBSCRIPTIONS * pace.size))]
    events = len(ids) * PER_SUBSCRIPTION
    with (
        servers.site("burst") as site,
        site.runtime() as runtime,
        site.worker(),
        site.bare_worker(),
    ):
        ours, empty = _queue_of_ours(site, runtime), _queue_of_bare_worker(site, runtime)

        def events_per_second() -> float:
            _store_bursts(site, runtime, ids)
            for start in range(0, len(ids), _IDS_PER_WAKE_UP):
                ours.prepare("seatsync.sync", [ids[start : start + _IDS_PER_WAKE_UP]])
            seconds = ours.drain()
            _check(runtime)
            return events / seconds

        def empty_tasks_per_second() -> float:
            for _ in range(events):
                empty.prepare(bare.EMPTY, [])
            return events / empty.drain()

        events_per_second(), empty_tasks_per_second()
        return [
            compare(
                f"events processed, {PER_SUBSCRIPTION} per subscription, against empty tasks",
                events_per_second,
                empty_tasks_per_second,
                pace=pace.at_most(_ROUNDS),
                bar=BAR,
            )
        ]


@dataclass(frozen=True, slots=True)
class Queue:
    """A worker's queue in Redis. It is filled in advance and released to the worker in one step.

    `prefix` is what the names of the app's keys in Redis begin with.
    """

    client: Redis
    app: Celery
    name: str
    prefix: str = ""

    def prepare(self, task: str, args: Sequence[object]) -> None:
        self.app.send_task(task, args=args, queue=_PREPARED)

    def drain(self) -> float:
        """Release the prepared tasks; return the seconds until the last one is acknowledged."""
        began = time.perf_counter()
        self.client.rename(self.prefix + _PREPARED, self.prefix + self.name)
        while self.client.llen(self.prefix + self.name) or self.client.hlen(self.prefix + "unacked"):
            if time.perf_counter() - began > _TIMEOUT_SECONDS:
                raise TimeoutError(f"the worker did not finish within {_TIMEOUT_SECONDS:.0f} s")
            time.sleep(0.005)
        return time.perf_counter() - began


def _queue_of_ours(site: Site, runtime: Runtime) -> Queue:
    app = SeatSync(site.settings)
    app.take_names()
    prefix = app.conf.broker_transport_options["global_keyprefix"]
    return Queue(runtime.redis, app, app.conf.task_default_queue, prefix)


def _queue_of_bare_worker(site: Site, runtime: Runtime) -> Queue:
    return Queue(runtime.redis, bare.create(str(site.settings.redis_url)), bare.QUEUE)


def _store_bursts(site: Site, runtime: Runtime, ids: Sequence[str]) -> None:
    """Store ten new events for every subscription, after changing its seats at the provider."""
    turn = next(_rounds)
    site.set_provider("seats", turn)
    with runtime.sessions.begin() as session:
        for subscription_id in ids:
            for n in range(PER_SUBSCRIPTION):
                inbox.store(session, _arrival(f"msg_{turn}_{subscription_id}_{n}", subscription_id, turn))
    # After a sync, the next one of the same subscription is due a second later.
    await_true(runtime, "SELECT count(*) = 0 FROM subscriptions WHERE hint > synced AND next_at > now()")


def _arrival(event_id: str, subscription_id: str, seats: int) -> Arrival:
    return Arrival(
        provider="dodo",
        event_id=event_id,
        type="subscription.updated",
        subscription_id=subscription_id,
        occurred_at=None,
        state=InboxState.PENDING,
        reason=None,
        body=bodies.event(subscription_id, seats),
    )


def _check(runtime: Runtime) -> None:
    """Raise RuntimeError unless every event is done and every account shows the same, new count."""
    with runtime.sessions() as session:
        waiting = session.scalar(text("SELECT count(*) FROM inbox WHERE state <> 'done'"))
        seats = session.scalars(text("SELECT DISTINCT seats #> '{full,addon}' FROM accounts")).all()
    if waiting or len(seats) != 1:
        raise RuntimeError(f"{waiting} events were not processed; accounts show {seats} seats")
