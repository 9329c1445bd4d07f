"""Celery's consumer, without the queues that it declares for delayed tasks."""

from __future__ import annotations

from celery.worker import consumer

_DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery is not typed
    """As in Celery, but nothing is prepared for tasks with a countdown or an `eta`.

    On quorum queues Celery delays such a task with 28 exchanges and 28 queues of its own at the broker, which
    it declares at each start of a worker. No task here has a delay, and Celery has no setting for it.
    """

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]  # Celery is not typed
        """The steps by which a consumer starts."""

        default_steps = tuple(
            step for step in consumer.Consumer.Blueprint.default_steps if step != _DELAYED_DELIVERY
        )
