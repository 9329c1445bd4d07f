"""Dodo Payments: verifies and reads its webhooks and calls its API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import count
from typing import Any

import orjson
from redis import Redis

from domain.billing_terms import When
from domain.cart import Cart
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.provider_errors import (
    AnswerIncomplete,
    CustomerNotAtProvider,
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
from providers.base import Delivery, Event, ListPage, Priority
from providers.dodo import changes, payments, subscriptions
from providers.dodo import products as dodo_products
from providers.dodo.subscriptions import MissingField
from providers.http import Client, InvalidPathSegment, JsonObject
from providers.rate_limit.budget import DEFAULT_RATE, Budget, parse_rate
from providers.signature import DEFAULT_TOLERANCE, Verifier

_SEAT_EVENTS = "subscription."
_UNKNOWN_TYPE = "unknown"
_PAGE_SIZE = 100  # the most the API gives (Dodo documentation, list subscriptions)

# Not a possible id: the provider's ids are a prefix followed by letters and digits.
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
    """Create the provider from its settings. Raises `SettingsError` if one of them is invalid.

    `prefix` returns the prefix of the keys in Redis.
    """
    budget = Budget(parse_rate(rate), redis, name=Dodo.name, prefix=prefix)
    return Dodo(
        Verifier(secrets, max_age=tolerance, max_lead=tolerance),
        Client(provider="Dodo Payments", base_url=base_url, api_key=api_key, budget=budget, proxy=proxy),
    )


class Dodo:
    """The implementation of `providers.base.Provider` for Dodo Payments."""

    name = "dodo"

    def __init__(self, verifier: Verifier, client: Client) -> None:
        self._verifier = verifier
        self._client = client

    @property
    def clock_skew(self) -> timedelta | None:
        """How far the provider's clock was ahead of ours at the last response; None before the first."""
        return self._client.clock_skew

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def verify(self, headers: Sequence[tuple[str, str]], body: bytes, now: datetime) -> Delivery:
        """Verify a webhook request and return the delivery. Raises only `InvalidSignature`."""
        return self._verifier.verify(headers, body, now)

    def read(self, body: bytes, *, with_state: bool = True) -> Event:
        """Parse the body of an authentic delivery. Never raises: an unreadable body gives an event with the
        reason. (`orjson` rejects NaN, deep nesting and lone surrogates.)
        """
        try:
            envelope = orjson.loads(body)
        except ValueError:
            return Event(type=_UNKNOWN_TYPE, unreadable="the body is not JSON")
        if not isinstance(envelope, dict):
            return Event(type=_UNKNOWN_TYPE, unreadable="the body is not a JSON object")
        return _event(envelope, with_state=with_state)

    def retrieve(
        self, subscription_id: str, *, priority: Priority = Priority.WEBHOOK
    ) -> SubscriptionSnapshot:
        """Retrieve the subscription.

        Raises `SubscriptionNotAtProvider`, `PermanentError`, or `TransientError`; the latter also for a
        response that cannot be read, since a fault at the provider or in a proxy may be fixed.
        """
        try:
            snapshot = subscriptions.snapshot(
                self._client.get("subscriptions", subscription_id, priority=priority)
            )
        except InvalidPathSegment:
            raise SubscriptionNotAtProvider("This is not a possible subscription id.") from None
        except MissingField as error:
            raise AnswerIncomplete(
                f"Dodo Payments sent a subscription without a usable {error}.", field=error.field
            ) from error
        except PermanentError as error:
            if error.details.get("status") != HTTPStatus.NOT_FOUND:
                raise
            raise SubscriptionNotAtProvider(
                "Dodo Payments does not know this subscription.", details=error.details
            ) from error
        if snapshot.subscription_id != subscription_id:
            raise TransientError("Dodo Payments sent a different subscription than the one requested.")
        return snapshot

    def pages(self, *, created_before: datetime, first_page: int = 0) -> Iterator[ListPage]:
        """List all subscriptions created up to a time, page by page.

        After a `TransientError`, resume with `first_page`. Page numbers stay valid, because `created_before`
        fixes the set of subscriptions.
        """
        moment = iso_time(created_before)
        walk = self._walk(
            "subscriptions", {"created_at_lte": moment}, priority=Priority.RECONCILE, first_page=first_page
        )
        for items in walk:
            yield _list_page(items)

    def may_read(self) -> bool:
        """Whether the provider accepts the API key in this mode. Requests one subscription of the list."""
        query = {"page_number": 0, "page_size": 1}
        try:
            self._client.get("subscriptions", priority=Priority.INTERACTIVE, query=query)
        except KeyRefused:
            return False
        return True

    def may_write(self) -> bool:
        """Whether the API key has write access.

        No API call reports this. So this cancels the scheduled change of a subscription that does not exist:
        a key without write access is refused before the missing subscription is noticed (Dodo documentation,
        cancel scheduled plan change).
        """
        path = ("subscriptions", _NO_SUBSCRIPTION, "change-plan", "scheduled")
        try:
            self._client.delete(*path, priority=Priority.INTERACTIVE)
        except KeyRefused:
            return False
        except PermanentError as error:
            if error.details.get("status") not in _NO_SUCH_SUBSCRIPTION:
                raise
        return True

    def products(self, *, archived: bool = False) -> Iterator[ProductOnSale]:
        """All products on sale, or all archived ones. Their `addons` are None."""
        for item in self._list("products", archived=archived):
            if (product := dodo_products.listed_product(item)) is not None:
                yield product

    def product(self, product_id: str) -> ProductOnSale | None:
        """The product with its add-ons, archived or not; None if there is none."""
        if (data := self._find("products", product_id)) is None:
            return None
        product = dodo_products.whole_product(data)
        if product is None or product.product_id != product_id:
            raise TransientError("Dodo Payments sent a different product than the one requested.")
        return product

    def addons(self, *, archived: bool = False) -> Iterator[AddonOnSale]:
        """All add-ons on sale, or all archived ones."""
        for item in self._list("addons", archived=archived):
            if (addon := dodo_products.addon(item)) is not None:
                yield addon

    def addon(self, addon_id: str) -> AddonOnSale | None:
        """The add-on, archived or not; None if there is none."""
        if (data := self._find("addons", addon_id)) is None:
            return None
        addon = dodo_products.addon(data)
        if addon is None or addon.addon_id != addon_id:
            raise TransientError("Dodo Payments sent a different add-on than the one requested.")
        return addon

    def preview_change(self, plan: Plan) -> Preview:
        """What the plan would cost and the cart after it."""
        path = ("subscriptions", plan.subscription_id, "change-plan", "preview")
        try:
            data = self._client.query(*path, priority=Priority.INTERACTIVE, body=changes.plan_body(plan))
            return changes.preview(data)
        except MissingField as error:
            raise TransientError(f"Dodo Payments sent a preview without a usable {error}.") from error
        except InvalidPathSegment:
            raise SubscriptionNotAtProvider("This is not a possible subscription id.") from None
        except PermanentError as error:
            raise changes.refusal_of(error) from error

    def change(self, plan: Plan, *, change_id: str) -> None:
        """Request the change, once. The response does not tell the outcome, and was empty before August 2026
        (Dodo documentation, changelog).
        """
        body = changes.plan_body(plan, change_id=change_id)
        self._change("POST", plan.subscription_id, "change-plan", body=body)

    def drop_scheduled_change(self, subscription_id: str) -> None:
        """Cancel the change scheduled for the renewal, once."""
        self._change("DELETE", subscription_id, "change-plan", "scheduled")

    def cancel(self, subscription_id: str, when: When) -> None:
        """Request that the subscription ends, now or at its next billing date, once."""
        self._change("PATCH", subscription_id, body=changes.CANCELLATIONS[when])

    def undo_cancellation(self, subscription_id: str) -> None:
        """Request that the subscription does not end at its next billing date, once."""
        self._change("PATCH", subscription_id, body=changes.UNDO_CANCELLATION)

    def open_portal(self, customer_id: str, *, return_url: str | None) -> str:
        """The URL of a new session in the customer portal; it is valid for 24 hours (Dodo documentation,
        customer portal).
        """
        query = {} if return_url is None else {"return_url": return_url}
        path = ("customers", customer_id, "customer-portal", "session")
        try:
            data = self._client.write("POST", *path, priority=Priority.INTERACTIVE, query=query)
        except OutcomeUnknown as error:  # a session whose URL was lost has no effect
            raise TransientError(
                "Dodo Payments opened no session in time. Try again.", retry_after=error.retry_after
            ) from error
        except InvalidPathSegment:
            raise CustomerNotAtProvider from None
        except PermanentError as error:
            if error.details.get("status") == HTTPStatus.NOT_FOUND:
                raise CustomerNotAtProvider from error
            raise
        if (url := fields.url(data.get("link"))) is None:
            raise TransientError("Dodo Payments opened a session without a usable `link`. Try again.")
        return url

    def open_checkout(
        self, cart: Cart, buyer: Buyer, *, metadata: Mapping[str, str], return_url: str | None
    ) -> Checkout:
        """Open a page on which the buyer can pay for the cart."""
        body = changes.checkout_body(cart, buyer, metadata=metadata, return_url=return_url)
        try:
            data = self._client.write("POST", "checkouts", priority=Priority.INTERACTIVE, body=body)
            return changes.checkout(data)
        except MissingField as error:
            raise OutcomeUnknown(f"Dodo Payments opened a checkout without a usable {error}.") from error
        except PermanentError as error:
            raise changes.checkout_refusal_of(error) from error

    def _change(self, method: str, subscription_id: str, *path: str, body: JsonObject | None = None) -> None:
        try:
            self._client.write(
                method, "subscriptions", subscription_id, *path, priority=Priority.INTERACTIVE, body=body
            )
        except InvalidPathSegment:
            raise SubscriptionNotAtProvider("This is not a possible subscription id.") from None
        except PermanentError as error:
            raise changes.refusal_of(error) from error

    def _find(self, kind: str, object_id: str) -> JsonObject | None:
        try:
            return self._client.get(kind, object_id, priority=Priority.INTERACTIVE)
        except InvalidPathSegment:
            return None
        except PermanentError as error:
            if error.details.get("status") != HTTPStatus.NOT_FOUND:
                raise
            return None

    def _list(self, kind: str, *, archived: bool) -> Iterator[JsonObject]:
        """The objects of all pages. Other items are skipped, so that they do not end the list."""
        query = {"archived": "true" if archived else "false"}
        for items in self._walk(kind, query, priority=Priority.INTERACTIVE):
            yield from (item for item in items if isinstance(item, dict))

    def _walk(
        self, kind: str, query: Mapping[str, str | int], *, priority: Priority, first_page: int = 0
    ) -> Iterator[list[Any]]:
        """The items of each page of a list, without empty pages.

        The API has no total and no cursor: a page that is not full is the last (Dodo documentation, list
        subscriptions). Raises `TransientError` if a page is repeated, since the list would then never end.
        """
        previous: list[Any] = []
        for number in count(first_page):
            paged = {"page_number": number, "page_size": _PAGE_SIZE, **query}
            items = self._page(kind, priority, paged).get("items")
            if not isinstance(items, list):
                raise TransientError(f"Dodo Payments sent a list of {kind} without `items`.")
            if items and items == previous:
                raise TransientError(f"Dodo Payments sent the same page of {kind} twice.")
            if items:
                yield items
            if len(items) < _PAGE_SIZE:
                return
            previous = items

    def _page(self, kind: str, priority: Priority, query: Mapping[str, str | int]) -> JsonObject:
        """A page of a list. A 404 after the first page counts as an empty page."""
        try:
            return self._client.get(kind, priority=priority, query=query)
        except PermanentError as error:
            if query["page_number"] == 0 or error.details.get("status") != HTTPStatus.NOT_FOUND:
                raise
            return {"items": []}


def _event(envelope: JsonObject, *, with_state: bool) -> Event:
    event_type, data = fields.text(envelope.get("type")), envelope.get("data")
    resource: JsonObject = data if isinstance(data, dict) else {}
    payment = payments.reported_payment(event_type, resource)
    is_of_change = payment is not None and payment.change_id is not None
    subscription_id = (
        payments.subscription_of(resource) if is_of_change else fields.text(resource.get("subscription_id"))
    )
    is_of_subscription = event_type is not None and event_type.startswith(_SEAT_EVENTS)
    concerns_seats = is_of_subscription or (is_of_change and subscription_id is not None)
    unreadable = _why_unreadable(event_type, data, lacks_subscription=concerns_seats and not subscription_id)
    has_state = with_state and is_of_subscription and unreadable is None
    return Event(
        type=event_type or _UNKNOWN_TYPE,
        occurred_at=fields.moment(envelope.get("timestamp")),
        business_id=fields.text(envelope.get("business_id")),
        subscription_id=subscription_id,
        concerns_seats=concerns_seats,
        snapshot=subscriptions.hint(resource) if has_state else None,
        unreadable=unreadable,
        payment=payment,
    )


def _why_unreadable(event_type: str | None, data: object, *, lacks_subscription: bool) -> str | None:
    """The reason why the event cannot be used; None if it can."""
    if event_type is None:
        return "no usable `type`"
    if not isinstance(data, dict):
        return "`data` is not an object"
    if lacks_subscription:
        return "no usable `data.subscription_id`"
    return None


def _list_page(items: Sequence[Any]) -> ListPage:
    """The page of subscriptions. Items that are no objects, or have no usable id, are left out."""
    objects = (item for item in items if isinstance(item, dict))
    readable = (item for item in objects if fields.text(item.get("subscription_id")) is not None)
    return ListPage([subscriptions.list_item(item) for item in readable], is_last=len(items) < _PAGE_SIZE)
