"""The two queues: one for syncs, and one for all other tasks, which may wait seconds for an answer.

A worker that takes syncs only (`seatsync worker --only-syncs`) is always free for the next webhook, whatever
endpoint hangs or purchase takes its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kombu import Exchange, Queue

SYNCS: Final = "syncs"
SLOW: Final = "slow"

_SYNC: Final = "seatsync.sync"

ROUTES: Final = {_SYNC: {"queue": SYNCS}, "seatsync.*": {"queue": SLOW}}
"""Celery's `task_routes`. The heartbeat is slow too, so that it shows that such tasks are done."""


def queues(name: str, *, survive_node: bool) -> Sequence[Queue]:
    """The queue of the syncs, named `name`, and that of the slow tasks. Their aliases are `SYNCS` and `SLOW`.

    `survive_node` makes them RabbitMQ's quorum queues: only these keep their messages when a node dies.
    """
    arguments = {"x-queue-type": "quorum"} if survive_node else None
    return [
        Queue(full, Exchange(full), routing_key=full, queue_arguments=arguments, alias=alias)
        for full, alias in ((name, SYNCS), (f"{name}.slow", SLOW))
    ]


def alias_of(task: str) -> str:
    """The alias of the queue that takes this task."""
    return SYNCS if task == _SYNC else SLOW
