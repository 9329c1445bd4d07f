"""Sorted indexes of subscriptions: any page of a large list, newest first, without reading the whole list."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice

from simulator.billing.subscription import Subscription

Key = tuple[datetime, str]

FILTERS: Mapping[str, Callable[[Subscription], object]] = {
    "status": lambda subscription: subscription.status,
    "product_id": lambda subscription: subscription.product_id,
    "customer_id": lambda subscription: subscription.customer.customer_id,
    "brand_id": lambda subscription: subscription.brand_id,
    "cancel_at_next_billing_date": lambda subscription: subscription.cancel_at_next_billing_date,
}
LAST = "\U0010ffff"  # sorts after every identifier


class SubscriptionIndex:
    """All subscriptions by time of creation, and for each filter value those that have it.

    It has no lock: the owner's lock protects it together with the subscriptions.
    """

    def __init__(self) -> None:
        self._all: list[Key] = []
        self._by_value: dict[tuple[str, object], list[Key]] = defaultdict(list)

    def add(self, subscription: Subscription) -> None:
        key = _key(subscription)
        for keys in self._lists(subscription):
            insort(keys, key)

    def remove(self, subscription: Subscription) -> None:
        key = _key(subscription)
        for keys in self._lists(subscription):
            del keys[bisect_left(keys, key)]

    def replace(self, old: Subscription, new: Subscription) -> None:
        if _key(old) == _key(new) and all(value(old) == value(new) for value in FILTERS.values()):
            return
        self.remove(old)
        self.add(new)

    def page(
        self,
        *,
        number: int,
        size: int,
        filters: Mapping[str, object],
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[str]:
        """The ids on page `number`, counted from zero. With several filters, the one with fewest matches is
        read.
        """
        found = [self._by_value.get(pair, []) for pair in filters.items()] or [self._all]
        keys = min(found, key=len)
        first = bisect_left(keys, (since, "")) if since else 0
        last = bisect_right(keys, (until, LAST)) if until else len(keys)
        others = [other for other in found if other is not keys]
        if not others:
            last -= number * size
            return [key[1] for key in reversed(keys[max(first, last - size) : max(first, last)])]
        matching = (
            keys[position][1]
            for position in range(last - 1, first - 1, -1)
            if all(_holds(other, keys[position]) for other in others)
        )
        return list(islice(matching, number * size, (number + 1) * size))

    def _lists(self, subscription: Subscription) -> Iterator[list[Key]]:
        yield self._all
        for name, value in FILTERS.items():
            yield self._by_value[name, value(subscription)]


def _key(subscription: Subscription) -> Key:
    return subscription.created_at, subscription.subscription_id


def _holds(keys: list[Key], key: Key) -> bool:
    position = bisect_left(keys, key)
    return position < len(keys) and keys[position] == key
