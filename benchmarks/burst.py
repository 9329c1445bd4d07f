"""Events worked off per second in bursts of ten, against an empty task per event in the same worker.

Both sides begin with everything waiting, and end when the queue is empty and nothing in it unacknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count

from redis import Redis
from sqlalchemy import text

from benchmarks import bodies
from benchmarks.baselines import EMPTY
from benchmarks.pace import Pace
from benchmarks.report import Row, compare
from benchmarks.servers import Servers, Site, await_answer
from models import inbox
from models.inbox import Arrival, InboxState
from runtime.wiring import Runtime
from worker.celery_app import SeatSync

BAR = 2.0
PER_SUBSCRIPTION = 10
_SUBSCRIPTIONS = 400
_IN_ONE_RING = 50
_PATIENCE = 60.0

# Tasks gather under another name; to give them to the worker, the list is renamed in one step.
_GATHERING = "gathering"

_rounds = count(1)


def run(servers: Servers, pace: Pace) -> list[Row]:
    ids = [f"sub_{n}" for n in range(round(_SUBSCRIPTIONS * pace.size))]
    events = len(ids) * PER_SUBSCRIPTION
    with servers.site("burst") as site, site.runtime() as runtime, site.worker("benchmarks.worker"):
        queue = Queue(runtime.redis, SeatSync(site.settings))

        def worked_off() -> float:
            _keep_bursts(site, runtime, ids)
            for start in range(0, len(ids), _IN_ONE_RING):
                queue.gather("seatsync.sync", [ids[start : start + _IN_ONE_RING]])
            took = queue.drain()
            _check(runtime)
            return events / took

        def emptied() -> float:
            for _ in range(events):
                queue.gather(EMPTY, [])
            return events / queue.drain()

        worked_off(), emptied()
        return [
            compare(
                f"events worked off, {PER_SUBSCRIPTION} per subscription, against empty tasks",
                worked_off,
                emptied,
                pace=pace,
                bar=BAR,
            )
        ]


class Queue:
    """The worker's queue, filled beforehand and handed over at once."""

    def __init__(self, client: Redis, app: SeatSync) -> None:
        app.take_names()
        self._client = client
        self._app = app
        self._prefix = app.conf.broker_transport_options["global_keyprefix"]
        self._queue = self._prefix + app.conf.task_default_queue

    def gather(self, task: str, args: Sequence[object]) -> None:
        self._app.send_task(task, args=args, queue=_GATHERING)

    def drain(self) -> float:
        """Seconds from handing over until the last task is acknowledged."""
        began = time.perf_counter()
        self._client.rename(self._prefix + _GATHERING, self._queue)
        while self._client.llen(self._queue) or self._client.hlen(self._prefix + "unacked"):
            if time.perf_counter() - began > _PATIENCE:
                raise TimeoutError(f"the worker was not done after {_PATIENCE:.0f} s")
            time.sleep(0.005)
        return time.perf_counter() - began


def _keep_bursts(site: Site, runtime: Runtime, ids: Sequence[str]) -> None:
    """Ten new events for every subscription, whose seats at the provider are others than last time."""
    turn = next(_rounds)
    site.tell_provider("seats", turn)
    with runtime.sessions.begin() as session:
        for subscription_id in ids:
            for n in range(PER_SUBSCRIPTION):
                inbox.store(session, _arrival(f"msg_{turn}_{subscription_id}_{n}", subscription_id, turn))
    # A subscription just looked at waits for a second before its next look.
    await_answer(runtime, "SELECT count(*) = 0 FROM subscriptions WHERE hint > synced AND next_at > now()")


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
    """Every event done and every account right, or nothing was measured."""
    with runtime.sessions() as session:
        waiting = session.scalar(text("SELECT count(*) FROM inbox WHERE state <> 'done'"))
        seats = session.scalars(text("SELECT DISTINCT seats #> '{full,addon}' FROM accounts")).all()
    if waiting or len(seats) != 1:
        raise RuntimeError(f"{waiting} events were not worked off; accounts show {seats} seats")
