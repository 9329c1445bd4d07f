"""All subscriptions, in memory, protected by one lock."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime

from simulator.billing.index import SubscriptionIndex
from simulator.billing.subscription import Customer, Subscription
from simulator.refusal import Refusal


class State:
    """The current subscriptions by id. They are immutable, so readers need no copy.

    `lock` is reentrant and public: hold it to read, decide and write in one step.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        with self.lock:
            self._current: dict[str, Subscription] = {}
            self._index = SubscriptionIndex()

    def __len__(self) -> int:
        return len(self._current)

    def find(self, subscription_id: str) -> Subscription | None:
        return self._current.get(subscription_id)

    def get(self, subscription_id: str) -> Subscription:
        subscription = self.find(subscription_id)
        if subscription is None:
            raise Refusal.not_found(f"Subscription {subscription_id} does not exist")
        return subscription

    def customer(self, customer_id: str) -> Customer:
        """The customer as in their newest subscription. Raises `Refusal` if there is none."""
        for subscription in self.page(number=0, size=1, filters={"customer_id": customer_id}):
            return subscription.customer
        raise Refusal.not_found(f"Customer {customer_id} does not exist")

    def all(self) -> list[Subscription]:
        with self.lock:
            return list(self._current.values())

    def put(self, *subscriptions: Subscription) -> None:
        with self.lock:
            for subscription in subscriptions:
                self._put(subscription)

    def _put(self, subscription: Subscription) -> None:
        before = self._current.get(subscription.subscription_id)
        if before is None:
            self._index.add(subscription)
        else:
            self._index.replace(before, subscription)
        self._current[subscription.subscription_id] = subscription

    def remove(self, subscription_id: str) -> Subscription:
        with self.lock:
            subscription = self.get(subscription_id)
            del self._current[subscription_id]
            self._index.remove(subscription)
            return subscription

    def page(
        self,
        *,
        number: int,
        size: int,
        filters: Mapping[str, object],
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterable[Subscription]:
        """One page, newest first."""
        with self.lock:
            ids = self._index.page(number=number, size=size, filters=filters, since=since, until=until)
            return [self._current[subscription_id] for subscription_id in ids]
