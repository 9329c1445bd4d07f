"""The interface of a billing provider. A new provider is one new package in this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from domain.billing_terms import When
from domain.cart import Cart
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.purchase.plan import Buyer, Checkout, Plan, Preview
from domain.snapshot import SubscriptionSnapshot


class Priority(StrEnum):
    """The priority of a call to the provider, highest first: a waiting person, a webhook, the timer."""

    INTERACTIVE = "interactive"
    WEBHOOK = "webhook"
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An authentic webhook request.

    `event_id` is the message id, the same for every retry; `body` the signed bytes.
    """

    event_id: str
    body: bytes


class PaymentKind(StrEnum):
    """What an event reports about a payment: paid, failed, or a new payment method."""

    PAID = "paid"
    FAILED = "failed"
    METHOD_REPLACED = "method_replaced"


@dataclass(frozen=True, slots=True)
class PaymentReport:
    """A payment reported by an event. `change_id` is the seat change that it is for, if the event names one.

    `reason` says in words why a failed payment failed and what to do, fit to be shown to the customer.
    `refusal` is the provider's code for it; None if there is none, or if the customer must not learn it.
    """

    kind: PaymentKind
    change_id: str | None = None
    refusal: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The content of a delivery.

    `type` is the provider's event type, or `unknown` if the body has none. `concerns_seats` is true for
    `subscription.*` events and for payments of our own seat changes. `unreadable` is the reason why the body
    cannot be used, else None; such a delivery is stored as a dead letter. `snapshot` is the state that the
    body claims, which only a retrieve can confirm; None if the body has no usable state. `payment` is the
    payment that the event reports, if any.
    """

    type: str
    occurred_at: datetime | None = None
    business_id: str | None = None
    subscription_id: str | None = None
    concerns_seats: bool = False
    snapshot: SubscriptionSnapshot | None = None
    unreadable: str | None = None
    payment: PaymentReport | None = None


@dataclass(frozen=True, slots=True)
class ListItem:
    """A subscription on a page of the list. Its values are read only if needed: most have not changed.

    As long as `fingerprint` stays the same, so do the fields in `domain.drift.LISTED`. It equals no
    fingerprint of a retrieved subscription. `read` returns the values, without add-ons; None if they are
    unreadable, in which case a retrieve may still succeed.
    """

    subscription_id: str
    created_at: datetime | None
    fingerprint: str
    read: Callable[[], SubscriptionSnapshot | None]


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of the list of subscriptions.

    `is_last` is true if the page shows that no page follows. If none of the pages shows this, the list ends
    before the first empty page, which is not returned.
    """

    items: Sequence[ListItem]
    is_last: bool


class Provider(Protocol):
    """A billing provider as the other packages use it."""

    @property
    def name(self) -> str:
        """The name of the provider, as in `/webhooks/NAME`."""
        ...

    @property
    def clock_skew(self) -> timedelta | None:
        """How far the provider's clock was ahead of ours at the last response; None if unknown."""
        ...

    def verify(self, headers: Sequence[tuple[str, str]], body: bytes, now: datetime) -> Delivery:
        """Verify a webhook request and return the delivery. Raises only `InvalidSignature`."""
        ...

    def read(self, body: bytes, *, with_state: bool = True) -> Event:
        """Parse the body of an authentic delivery. Never raises: an unreadable body gives an event with the
        reason.

        With `with_state=False` the snapshot is not parsed, which is faster.
        """
        ...

    def retrieve(
        self, subscription_id: str, *, priority: Priority = Priority.WEBHOOK
    ) -> SubscriptionSnapshot:
        """Retrieve the subscription, within the caller's share of the request budget.

        Raises `SubscriptionNotAtProvider`, `PermanentError`, `TransientError`.
        """
        ...

    def pages(self, *, created_before: datetime, first_page: int = 0) -> Iterator[ListPage]:
        """List all subscriptions created before a time, page by page, from the page `first_page`.

        Raises the same errors as `retrieve`; call it again with the number of the
        page that failed to resume.
        """
        ...

    def may_read(self) -> bool:
        """Whether the provider accepts the API key. Raises `PermanentError`, `TransientError`."""
        ...

    def may_write(self) -> bool:
        """Whether the API key has write access. The check changes nothing at the provider.

        Raises `PermanentError`, `TransientError`.
        """
        ...

    def products(self, *, archived: bool = False) -> Iterator[ProductOnSale]:
        """All products on sale, or all archived ones. Their `addons` are None. Raises like `may_read`."""
        ...

    def product(self, product_id: str) -> ProductOnSale | None:
        """The product with its add-ons, archived or not; None if there is none. Raises like `may_read`."""
        ...

    def addons(self, *, archived: bool = False) -> Iterator[AddonOnSale]:
        """All add-ons on sale, or all archived ones. Raises like `may_read`."""
        ...

    def addon(self, addon_id: str) -> AddonOnSale | None:
        """The add-on, archived or not; None if there is none. Raises like `may_read`."""
        ...

    def preview_change(self, plan: Plan) -> Preview:
        """What the plan would cost and the cart after it, without changing anything.

        Raises `ChangeRefused`, `SubscriptionNotAtProvider`, `PermanentError`, `TransientError`.
        """
        ...

    def change(self, plan: Plan, *, change_id: str) -> None:
        """Request the change, once. The provider shows `change_id` in the metadata of the payment.

        Returning normally does not mean that the seats are there: only a retrieved subscription shows that.
        Raises `OutcomeUnknown` if the change may have been made, which a retrieve can tell. After the errors
        that `preview_change` raises, nothing was changed.
        """
        ...

    def drop_scheduled_change(self, subscription_id: str) -> None:
        """Cancel the change scheduled for the renewal, once. Raises like `change`."""
        ...

    def cancel(self, subscription_id: str, when: When) -> None:
        """Request that the subscription ends, now or at its next billing date, once. Raises like `change`."""
        ...

    def undo_cancellation(self, subscription_id: str) -> None:
        """Request that the subscription does not end at its next billing date, once. Raises like `change`."""
        ...

    def open_portal(self, customer_id: str, *, return_url: str | None) -> str:
        """The URL of a new session in the provider's customer portal. Anybody who has it can act as the
        customer.

        Raises `CustomerNotAtProvider`, `PermanentError`, `TransientError`. It is safe to try again.
        """
        ...

    def open_checkout(
        self, cart: Cart, buyer: Buyer, *, metadata: Mapping[str, str], return_url: str | None
    ) -> Checkout:
        """Open a page on which the buyer can pay for the cart. The subscription gets the metadata.

        Raises like `change`. It is safe to try again: a page whose address was lost is never paid.
        """
        ...
