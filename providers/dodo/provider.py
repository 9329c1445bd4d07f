"""Dodo Payments: what its deliveries and its API say, in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import count
from typing import Any

import orjson
from redis import Redis

from domain.cart import Cart
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.errors import (
    AnswerIncomplete,
    KeyRefused,
    OutcomeUnknown,
    PermanentError,
    SubscriptionNotAtProvider,
    TransientError,
)
from domain.purchase.plan import Buyer, Checkout, Plan, Preview
from domain.snapshot import SubscriptionSnapshot
from domain.times import iso_time
from providers import fields
from providers.base import Caller, Delivery, Event, ListPage
from providers.dodo import changes, payments, subscriptions
from providers.dodo import products as dodo_on_sale
from providers.dodo.subscriptions import Untranslatable
from providers.http import Client, JsonObject, Unnameable
from providers.rate_limit.budget import DEFAULT_RATE, Budget, parse_rate
from providers.signature import DEFAULT_TOLERANCE, Verifier

_SEAT_EVENTS = "subscription."
_UNKNOWN_TYPE = "unknown"
_PAGE_SIZE = 100  # the most the API gives (Dodo documentation, list subscriptions)

# The provider makes its ids itself, of a prefix, letters and digits; a sentence is never one of them.
_NO_SUBSCRIPTION = "no-subscription-seatsync-asks-what-its-key-may-do"
_NO_SUCH_SUBSCRIPTION = {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}


def build(
    *,
    base_url: str,
    api_key: str,
    secrets: Sequence[str],
    tolerance: timedelta = DEFAULT_TOLERANCE,
    rate: str = DEFAULT_RATE,
    redis: Redis | None = None,
    prefix: Callable[[], str] = lambda: "seatsync:",
    proxy: str | None = None,
) -> Dodo:
    """The provider from its settings; raises `SettingsError` where one of them cannot be used.

    `prefix` gives the beginning of the names used in Redis.
    """
    budget = Budget(parse_rate(rate), redis, name=Dodo.name, prefix=prefix)
    return Dodo(
        Verifier(secrets, max_age=tolerance, max_lead=tolerance),
        Client(provider="Dodo Payments", base_url=base_url, api_key=api_key, budget=budget, proxy=proxy),
    )


class Dodo:
    """The provider of this name; satisfies `providers.base.Provider`."""

    name = "dodo"

    def __init__(self, verifier: Verifier, client: Client) -> None:
        self._verifier = verifier
        self._client = client

    @property
    def clock_skew(self) -> timedelta | None:
        """How far the provider's clock was ahead of ours at the last answer; None before the first."""
        return self._client.clock_skew

    def close(self) -> None:
        """Close the connections kept open."""
        self._client.close()

    def verify(self, headers: Sequence[tuple[str, str]], body: bytes, now: datetime) -> Delivery:
        """The delivery, if it is authentic and fresh; raises `InvalidSignature` and nothing else."""
        return self._verifier.verify(headers, body, now)

    def read(self, body: bytes, *, with_state: bool = True) -> Event:
        """What the body says; never raises. `orjson` refuses NaN, deep nesting and lone surrogates."""
        try:
            envelope = orjson.loads(body)
        except ValueError:
            return Event(type=_UNKNOWN_TYPE, unreadable="the body is not JSON")
        if not isinstance(envelope, dict):
            return Event(type=_UNKNOWN_TYPE, unreadable="the body is not a JSON object")
        return _event(envelope, with_state=with_state)

    def retrieve(self, subscription_id: str, *, caller: Caller = Caller.WEBHOOK) -> SubscriptionSnapshot:
        """The subscription now.

        Raises `SubscriptionNotAtProvider`, `PermanentError`, and `TransientError`: also for an answer that
        makes no sense, since a change on their side or a proxy between us may be repaired.
        """
        try:
            snapshot = subscriptions.snapshot(
                self._client.get("subscriptions", subscription_id, caller=caller)
            )
        except Unnameable:
            raise SubscriptionNotAtProvider("No subscription can have such an id.") from None
        except Untranslatable as error:
            raise AnswerIncomplete(
                f"Dodo Payments showed a subscription without a usable {error}.", field=error.field
            ) from error
        except PermanentError as error:
            if error.details.get("status") != HTTPStatus.NOT_FOUND:
                raise
            raise SubscriptionNotAtProvider(
                "Dodo Payments knows no such subscription.", details=error.details
            ) from error
        if snapshot.subscription_id != subscription_id:
            raise TransientError("Dodo Payments answered with another subscription than the one asked for.")
        return snapshot

    def pages(self, *, created_before: datetime, first_page: int = 0) -> Iterator[ListPage]:
        """All subscriptions created up to a moment, a page at a time; their `addons` are None.

        A walk that a `TransientError` ended goes on with `first_page`: the moment fixes the set, so the
        numbers keep their meaning.
        """
        moment = iso_time(created_before)
        walk = self._walk(
            "subscriptions", {"created_at_lte": moment}, caller=Caller.RECONCILE, first_page=first_page
        )
        for items in walk:
            yield _list_page(items)

    def may_read(self) -> bool:
        """Whether the key is one that the provider knows, for this mode; one short page tells."""
        query = {"page_number": 0, "page_size": 1}
        try:
            self._client.get("subscriptions", caller=Caller.INTERACTIVE, query=query)
        except KeyRefused:
            return False
        return True

    def may_write(self) -> bool:
        """Whether the key may change anything.

        No call tells, so the one that does least is tried where it can do nothing: dropping the scheduled
        change of a subscription that does not exist. A key without write access is refused before that is
        noticed (Dodo documentation, cancel scheduled plan change).
        """
        path = ("subscriptions", _NO_SUBSCRIPTION, "change-plan", "scheduled")
        try:
            self._client.delete(*path, caller=Caller.INTERACTIVE)
        except KeyRefused:
            return False
        except PermanentError as error:
            if error.details.get("status") not in _NO_SUCH_SUBSCRIPTION:
                raise
        return True

    def products(self, *, archived: bool = False) -> Iterator[ProductOnSale]:
        """All products on sale, or all archived ones; their `addons` are None."""
        for item in self._list("products", archived=archived):
            if (product := dodo_on_sale.listed_product(item)) is not None:
                yield product

    def product(self, product_id: str) -> ProductOnSale | None:
        """The product with the add-ons offered with it, archived or not; None if there is none."""
        if (data := self._find("products", product_id)) is None:
            return None
        product = dodo_on_sale.whole_product(data)
        if product is None or product.product_id != product_id:
            raise TransientError("Dodo Payments answered with another product than the one asked for.")
        return product

    def addons(self, *, archived: bool = False) -> Iterator[AddonOnSale]:
        """All add-ons on sale, or all archived ones."""
        for item in self._list("addons", archived=archived):
            if (addon := dodo_on_sale.addon(item)) is not None:
                yield addon

    def addon(self, addon_id: str) -> AddonOnSale | None:
        """The add-on, archived or not; None if there is none."""
        if (data := self._find("addons", addon_id)) is None:
            return None
        addon = dodo_on_sale.addon(data)
        if addon is None or addon.addon_id != addon_id:
            raise TransientError("Dodo Payments answered with another add-on than the one asked for.")
        return addon

    def preview_change(self, plan: Plan) -> Preview:
        """What the plan would cost, and the cart after it."""
        path = ("subscriptions", plan.subscription_id, "change-plan", "preview")
        try:
            data = self._client.ask(*path, caller=Caller.INTERACTIVE, body=changes.plan_body(plan))
            return changes.preview(data)
        except Untranslatable as error:
            raise TransientError(
                f"Dodo Payments answered with a preview without a usable {error}."
            ) from error
        except Unnameable:
            raise SubscriptionNotAtProvider("No subscription can have such an id.") from None
        except PermanentError as error:
            raise changes.refusal_of(error) from error

    def change(self, plan: Plan, *, change_id: str) -> None:
        """Ask for the plan, once. The answer says nothing of what becomes of it, and before August 2026 was
        empty (Dodo documentation, changelog).
        """
        body = changes.plan_body(plan, change_id=change_id)
        self._change("POST", plan.subscription_id, "change-plan", body=body)

    def drop_scheduled_change(self, subscription_id: str) -> None:
        """Cancel the change that waits for the renewal, once."""
        self._change("DELETE", subscription_id, "change-plan", "scheduled")

    def open_checkout(
        self, cart: Cart, buyer: Buyer, *, metadata: Mapping[str, str], return_url: str | None
    ) -> Checkout:
        """A page on which the buyer can pay for the cart."""
        body = changes.checkout_body(cart, buyer, metadata=metadata, return_url=return_url)
        try:
            data = self._client.write("POST", "checkouts", caller=Caller.INTERACTIVE, body=body)
            return changes.checkout(data)
        except Untranslatable as error:
            raise OutcomeUnknown(f"Dodo Payments opened a checkout without a usable {error}.") from error
        except PermanentError as error:
            raise changes.checkout_refusal_of(error) from error

    def _change(self, method: str, subscription_id: str, *path: str, body: JsonObject | None = None) -> None:
        try:
            self._client.write(
                method, "subscriptions", subscription_id, *path, caller=Caller.INTERACTIVE, body=body
            )
        except Unnameable:
            raise SubscriptionNotAtProvider("No subscription can have such an id.") from None
        except PermanentError as error:
            raise changes.refusal_of(error) from error

    def _find(self, kind: str, wanted_id: str) -> JsonObject | None:
        try:
            return self._client.get(kind, wanted_id, caller=Caller.INTERACTIVE)
        except Unnameable:
            return None
        except PermanentError as error:
            if error.details.get("status") != HTTPStatus.NOT_FOUND:
                raise
            return None

    def _list(self, kind: str, *, archived: bool) -> Iterator[JsonObject]:
        """The objects of all pages; an odd item must not stop the walk."""
        query = {"archived": "true" if archived else "false"}
        for items in self._walk(kind, query, caller=Caller.INTERACTIVE):
            yield from (item for item in items if isinstance(item, dict))

    def _walk(
        self, kind: str, query: Mapping[str, str | int], *, caller: Caller, first_page: int = 0
    ) -> Iterator[list[Any]]:
        """The pages of a list that are not empty.

        The API has no total and no cursor; a page that is not full is the last (Dodo documentation, list
        subscriptions), and a page that comes again would never be.
        """
        previous: list[Any] = []
        for number in count(first_page):
            paged = {"page_number": number, "page_size": _PAGE_SIZE, **query}
            items = self._page(kind, caller, paged).get("items")
            if not isinstance(items, list):
                raise TransientError(f"Dodo Payments answered with a list of {kind} without `items`.")
            if items and items == previous:
                raise TransientError(f"Dodo Payments gave the same page of {kind} twice.")
            if items:
                yield items
            if len(items) < _PAGE_SIZE:
                return
            previous = items

    def _page(self, kind: str, caller: Caller, query: Mapping[str, str | int]) -> JsonObject:
        """A page of a list; none behind the first is an empty one, however the provider says so."""
        try:
            return self._client.get(kind, caller=caller, query=query)
        except PermanentError as error:
            if query["page_number"] == 0 or error.details.get("status") != HTTPStatus.NOT_FOUND:
                raise
            return {"items": []}


def _event(envelope: JsonObject, *, with_state: bool) -> Event:
    event_type, data = fields.text(envelope.get("type")), envelope.get("data")
    resource: JsonObject = data if isinstance(data, dict) else {}
    subscription_id = fields.text(resource.get("subscription_id"))
    payment = payments.news(event_type, resource)
    is_of_subscription = event_type is not None and event_type.startswith(_SEAT_EVENTS)
    is_of_change = payment is not None and payment.change_id is not None and subscription_id is not None
    concerns_seats = is_of_subscription or is_of_change
    if event_type is None:
        unreadable = "no usable `type`"
    elif not isinstance(data, dict):
        unreadable = "`data` is not an object"
    elif concerns_seats and subscription_id is None:
        unreadable = "no usable `data.subscription_id`"
    else:
        unreadable = None
    return Event(
        type=event_type or _UNKNOWN_TYPE,
        occurred_at=fields.moment(envelope.get("timestamp")),
        business_id=fields.text(envelope.get("business_id")),
        subscription_id=subscription_id,
        concerns_seats=concerns_seats,
        snapshot=subscriptions.hint(resource)
        if with_state and is_of_subscription and unreadable is None
        else None,
        unreadable=unreadable,
        payment=payment,
    )


def _list_page(items: Sequence[Any]) -> ListPage:
    """One odd item must not stop the walk; if it has an id, a retrieve may tell more of it."""
    objects = [item for item in items if isinstance(item, dict)]
    hints = [(item, subscriptions.hint(item)) for item in objects]
    odd = [fields.text(item.get("subscription_id")) for item, hint in hints if hint is None]
    return ListPage(
        [hint for _, hint in hints if hint is not None],
        is_last=len(items) < _PAGE_SIZE,
        unreadable=[name for name in odd if name is not None],
    )
