"""Dodo Payments: what its deliveries and its API say, in our words."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import count
from typing import Any

import orjson
from redis import Redis

from providers import dodo_on_sale, fields
from providers.base import Caller, Delivery, Event, ListPage
from providers.budget import DEFAULT_RATE, Budget, parse_rate
from providers.http import Client, JsonObject, Unnameable
from providers.signature import DEFAULT_TOLERANCE, Verifier
from seats.errors import KeyRefused, PermanentError, SubscriptionNotAtProvider, TransientError
from seats.on_sale import AddonOnSale, ProductOnSale
from seats.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot

log = logging.getLogger(__name__)

# Dodo documentation, API introduction.
BASE_URLS = {"test_mode": "https://test.dodopayments.com", "live_mode": "https://live.dodopayments.com"}

_SEAT_EVENTS = "subscription."
_UNKNOWN_TYPE = "unknown"
_PAGE_SIZE = 100  # the most the API gives (Dodo documentation, list subscriptions)

# The provider makes its ids itself, of a prefix, letters and digits; a sentence is never one of them.
_NO_SUBSCRIPTION = "no-subscription-seatsync-asks-what-its-key-may-do"
_NO_SUCH_SUBSCRIPTION = {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}


class Untranslatable(ValueError):
    """A subscription without a usable one of the few fields that seats are computed from."""


def build(
    *,
    base_url: str,
    api_key: str,
    secrets: Sequence[str],
    tolerance: timedelta = DEFAULT_TOLERANCE,
    rate: str = DEFAULT_RATE,
    redis: Redis | None = None,
) -> Dodo:
    """The provider from its settings; raises `SettingsError` where one of them cannot be used."""
    budget = Budget(parse_rate(rate), redis, name=Dodo.name)
    return Dodo(
        Verifier(secrets, max_age=tolerance, max_lead=tolerance),
        Client(provider="Dodo Payments", base_url=base_url, api_key=api_key, budget=budget),
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
            snapshot = _snapshot(self._client.get("subscriptions", subscription_id, caller=caller))
        except Unnameable:
            raise SubscriptionNotAtProvider("No subscription can have such an id.") from None
        except Untranslatable as error:
            raise TransientError(f"Dodo Payments showed a subscription without a usable {error}.") from error
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
        moment = created_before.astimezone(UTC).isoformat().replace("+00:00", "Z")
        walk = self._walk(
            "subscriptions", {"created_at_lte": moment}, caller=Caller.RECONCILE, first_page=first_page
        )
        for items in walk:
            yield ListPage(_readable(items), is_last=len(items) < _PAGE_SIZE)

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
            items = self._client.get(kind, caller=caller, query=paged).get("items")
            if not isinstance(items, list):
                raise TransientError(f"Dodo Payments answered with a list of {kind} without `items`.")
            if items and items == previous:
                raise TransientError(f"Dodo Payments gave the same page of {kind} twice.")
            if items:
                yield items
            if len(items) < _PAGE_SIZE:
                return
            previous = items


def _event(envelope: JsonObject, *, with_state: bool) -> Event:
    event_type, data = fields.text(envelope.get("type")), envelope.get("data")
    resource: JsonObject = data if isinstance(data, dict) else {}
    subscription_id = fields.text(resource.get("subscription_id"))
    concerns_seats = event_type is not None and event_type.startswith(_SEAT_EVENTS)
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
        snapshot=_hint(resource) if with_state and concerns_seats and unreadable is None else None,
        unreadable=unreadable,
    )


def _hint(data: JsonObject) -> SubscriptionSnapshot | None:
    """The state the body claims, or None. No reason to refuse an event: its id is enough to ask again."""
    try:
        return _snapshot(data)
    except Untranslatable as error:
        log.warning(
            "A subscription cannot be translated",
            extra={"subscription_id": fields.text(data.get("subscription_id")), "reason": str(error)},
        )
        return None


def _readable(items: Sequence[Any]) -> list[SubscriptionSnapshot]:
    """The translatable ones: one odd item must not stop the walk, and the retrieves still reach it."""
    hints = [_hint(item) for item in items if isinstance(item, dict)]
    return [hint for hint in hints if hint is not None]


def _snapshot(data: JsonObject) -> SubscriptionSnapshot:
    """A subscription in our words. Real bodies lack fields that the provider's models require, so only
    what seats are computed from is required, and anything else of a wrong type counts as absent.
    """
    customer = data.get("customer")  # personal, but for its id
    return SubscriptionSnapshot(
        subscription_id=_required_text(data, "subscription_id"),
        status=_required_text(data, "status"),
        product_id=_required_text(data, "product_id"),
        quantity=_required_quantity(data),
        addons=_addons(data.get("addons")),
        cancel_at_next_billing_date=data.get("cancel_at_next_billing_date") is True,
        next_billing_date=fields.moment(data.get("next_billing_date")),
        previous_billing_date=fields.moment(data.get("previous_billing_date")),
        past_due_ends_at=fields.moment(data.get("past_due_ends_at")),
        recurring_pre_tax_amount=fields.integer(data.get("recurring_pre_tax_amount")),
        currency=fields.text(data.get("currency")),
        customer_id=fields.text(customer.get("customer_id")) if isinstance(customer, dict) else None,
        metadata=fields.scalars(data.get("metadata")),
        scheduled_change=_scheduled_change(data.get("scheduled_change")),
        created_at=fields.moment(data.get("created_at")),
    )


def _required_text(data: JsonObject, field: str) -> str:
    text = fields.text(data.get(field))
    if text is None:
        raise Untranslatable(f"`{field}`")
    return text


def _required_quantity(data: JsonObject) -> int:
    quantity = fields.integer(data.get("quantity"))
    if quantity is None:
        raise Untranslatable("`quantity`")
    return quantity


def _addons(value: object) -> tuple[AddonQuantity, ...] | None:
    """The add-on cart; None where it is absent or any part of it is malformed, since that is not zero."""
    if not isinstance(value, list):
        return None
    addons = [_addon(item) for item in value]
    known = tuple(addon for addon in addons if addon is not None)
    return known if len(known) == len(addons) else None


def _addon(item: object) -> AddonQuantity | None:
    if not isinstance(item, dict):
        return None
    addon_id, quantity = fields.text(item.get("addon_id")), fields.integer(item.get("quantity"))
    return None if addon_id is None or quantity is None else AddonQuantity(addon_id, quantity)


def _scheduled_change(value: object) -> ScheduledChange | None:
    if not isinstance(value, dict):
        return None
    change_id, product_id = fields.text(value.get("id")), fields.text(value.get("product_id"))
    quantity, addons = fields.integer(value.get("quantity")), _addons(value.get("addons"))
    if change_id is None or product_id is None or quantity is None or addons is None:
        return None
    return ScheduledChange(change_id, product_id, quantity, addons, fields.moment(value.get("effective_at")))
