"""A bare Celery app with an empty task, and those options of the service that cost time for every task."""

from __future__ import annotations

import os
from typing import Final

from celery import Celery

QUEUE: Final = "bare"
EMPTY: Final = "bare.empty"


def create(redis_url: str | None) -> Celery:
    """The app, with this Redis as its broker."""
    app = Celery("bare", broker=redis_url)
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_soft_time_limit=20,
        task_time_limit=30,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
    )
    return app


app = create(os.environ.get("REDIS_URL"))


@app.task(name=EMPTY)
def empty() -> None:
    """Do nothing."""
