"""A provider in memory. Tests compare the service's figures with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.drift import fingerprint
from domain.provider_errors import BudgetSpent, InvalidSignature, SubscriptionNotAtProvider
from domain.snapshot import SubscriptionSnapshot
from providers.base import Delivery, Event, ListItem, ListPage, Priority


def list_item(snapshot: SubscriptionSnapshot, *, is_readable: bool = True) -> ListItem:
    """The subscription as an item of a list, with a fingerprint that no retrieved one has."""
    return ListItem(
        snapshot.subscription_id,
        snapshot.created_at,
        f"listed {fingerprint(snapshot)}",
        lambda: snapshot if is_readable else None,
    )


@dataclass
class FakeProvider:
    """Returns what `subscriptions` holds, or raises `failing`; `events` maps webhook bodies to their events.

    List pages contain the subscriptions without their add-ons. Those in `hidden` are left out, and those in
    `listed_otherwise` have the values given there.
    """

    name: str = "dodo"
    subscriptions: dict[str, SubscriptionSnapshot] = field(default_factory=dict)
    events: dict[bytes, Event] = field(default_factory=dict)
    failing: Exception | None = None
    retrieved: list[str] = field(default_factory=list)
    failed_retrieves: list[str] = field(default_factory=list)
    """The ids of retrieves that raised an error."""
    page_size: int = 100
    page_budget: int | None = None
    listed_pages: int = 0
    listed_otherwise: dict[str, SubscriptionSnapshot] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    repeats: bool = False
    failing_pages: Exception | None = None
    between_pages: Callable[[], None] | None = None
    callers: list[Priority] = field(default_factory=list)
    lagging: dict[str, SubscriptionSnapshot | None] = field(default_factory=dict)
    """The outdated state that the next retrieve of a subscription returns; None if it is not found yet."""

    def verify(self, headers: Sequence[tuple[str, str]], body: bytes, now: datetime) -> Delivery:
        signed = {name.lower(): value for name, value in headers}
        if signed.get("webhook-signature") != "good":
            raise InvalidSignature("no signature matches")
        return Delivery(signed["webhook-id"], body)

    def read(self, body: bytes, *, with_state: bool = True) -> Event:
        event = self.events.get(body, Event(type="unknown", unreadable="the body is not JSON"))
        return event if with_state else replace(event, snapshot=None)

    def retrieve(
        self, subscription_id: str, *, priority: Priority = Priority.WEBHOOK
    ) -> SubscriptionSnapshot:
        self.retrieved.append(subscription_id)
        self.callers.append(priority)
        now = self.subscriptions.get(subscription_id)
        snapshot = self.lagging.pop(subscription_id, now) if self.failing is None else None
        if snapshot is None:
            self.failed_retrieves.append(subscription_id)
            raise self.failing or SubscriptionNotAtProvider("No such subscription.")
        return snapshot

    def pages(self, *, created_before: datetime, first_page: int = 0) -> Iterator[ListPage]:
        if self.failing_pages is not None:
            raise self.failing_pages
        listed = [self._listed(name) for name in self.subscriptions if name not in self.hidden]
        for start in range(first_page * self.page_size, len(listed), self.page_size):
            if self.between_pages is not None and start:
                self.between_pages()
            if self.page_budget == 0:
                self.page_budget = None
                raise BudgetSpent("Nothing left.", retry_after=0.01)
            self.page_budget = None if self.page_budget is None else self.page_budget - 1
            self.listed_pages += 1
            page = listed[:1] if self.repeats else listed[start : start + self.page_size]
            items = [list_item(one, is_readable=one.subscription_id not in self.unreadable) for one in page]
            yield ListPage(items, is_last=len(page) < self.page_size)

    def _listed(self, name: str) -> SubscriptionSnapshot:
        return replace(self.listed_otherwise.get(name, self.subscriptions[name]), addons=None)
