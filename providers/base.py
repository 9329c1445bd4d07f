"""What a provider must be able to do. A new provider is one new file in this folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from domain.cart import Cart
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.purchase.plan import Buyer, Checkout, Plan, Preview
from domain.snapshot import SubscriptionSnapshot


class Caller(StrEnum):
    """Who asks, the most urgent first: a person who waits, a webhook, the timer."""

    INTERACTIVE = "interactive"
    WEBHOOK = "webhook"
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One authentic HTTP arrival: its message id (the same on every retry) and the bytes that were signed."""

    event_id: str
    body: bytes


class PaymentNewsKind(StrEnum):
    """What an event says of money: it came in, it did not, or it will be taken another way."""

    PAID = "paid"
    FAILED = "failed"
    METHOD_REPLACED = "method_replaced"


@dataclass(frozen=True, slots=True)
class PaymentNews:
    """What an event says of money. `change_id` is the seat change that the payment is for, if the event names
    one; `refusal` the provider's code for why it failed, if it gives one.
    """

    kind: PaymentNewsKind
    change_id: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a delivery says.

    `type` is the provider's word, or `unknown` where the body has none. `concerns_seats` is true for
    `subscription.*`, and for payments of our own seat changes. `payment` is what the event says of money.
    `unreadable` says why the body cannot be used (the delivery is kept as a dead letter with that reason);
    otherwise it is None. `snapshot` is the state the body claims: a hint, never the truth; None where it
    cannot be told, which is no reason not to ask the provider.
    """

    type: str
    occurred_at: datetime | None = None
    business_id: str | None = None
    subscription_id: str | None = None
    concerns_seats: bool = False
    snapshot: SubscriptionSnapshot | None = None
    unreadable: str | None = None
    payment: PaymentNews | None = None


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of the list of subscriptions. `is_last` is known before a further page is asked for; where no
    page was known to be the last, the one before an empty one was.
    """

    subscriptions: Sequence[SubscriptionSnapshot]
    is_last: bool
    unreadable: Sequence[str] = ()
    """The ids of those that are on the page and cannot be translated: retrieving them may tell more."""


class Provider(Protocol):
    """A billing provider as the rest of the house sees it."""

    @property
    def name(self) -> str:
        """The provider's place in `/webhooks/NAME`."""
        ...

    @property
    def clock_skew(self) -> timedelta | None:
        """How far the provider's clock was ahead of ours at the last answer; None while it is not known."""
        ...

    def verify(self, headers: Sequence[tuple[str, str]], body: bytes, now: datetime) -> Delivery:
        """The delivery, if it is authentic and fresh; raises `InvalidSignature` and nothing else."""
        ...

    def read(self, body: bytes, *, with_state: bool = True) -> Event:
        """What the (authentic) body says; never raises: an unreadable body is an event that says why.

        Without its state the event has no snapshot, and is read sooner.
        """
        ...

    def retrieve(self, subscription_id: str, *, caller: Caller = Caller.WEBHOOK) -> SubscriptionSnapshot:
        """The subscription now, out of the caller's part of the request budget.

        Raises `SubscriptionNotAtProvider`, `PermanentError`, `TransientError`.
        """
        ...

    def pages(self, *, created_before: datetime, first_page: int = 0) -> Iterator[ListPage]:
        """All subscriptions created up to a moment, a page at a time; their `addons` are None.

        Raises what `retrieve` raises; a walk ended by that goes on with the number of the page it missed.
        """
        ...

    def may_read(self) -> bool:
        """Whether the key is one that the provider knows; raises `PermanentError`, `TransientError`."""
        ...

    def may_write(self) -> bool:
        """Whether the key may change anything, found out without changing anything.

        Raises `PermanentError`, `TransientError`.
        """
        ...

    def products(self, *, archived: bool = False) -> Iterator[ProductOnSale]:
        """All products on sale, or all archived ones; their `addons` are None. Raises like `may_read`."""
        ...

    def product(self, product_id: str) -> ProductOnSale | None:
        """The product with the add-ons offered with it, archived or not; None if there is none.

        Raises like `may_read`.
        """
        ...

    def addons(self, *, archived: bool = False) -> Iterator[AddonOnSale]:
        """All add-ons on sale, or all archived ones. Raises like `may_read`."""
        ...

    def addon(self, addon_id: str) -> AddonOnSale | None:
        """The add-on, archived or not; None if there is none. Raises like `may_read`."""
        ...

    def preview_change(self, plan: Plan) -> Preview:
        """What the plan would cost, and the cart after it; changes nothing.

        Raises `ChangeRefused`, `SubscriptionNotAtProvider`, `PermanentError`, `TransientError`.
        """
        ...

    def change(self, plan: Plan, *, change_id: str) -> None:
        """Ask for the plan, once; `change_id` is shown at the provider beside the payment.

        That the provider agreed says nothing of seats: they are there once the subscription shows them.
        Raises `OutcomeUnknown`, which only a look at the subscription clears up; else what
        `preview_change` raises, and then nothing was changed.
        """
        ...

    def drop_scheduled_change(self, subscription_id: str) -> None:
        """Cancel the change that waits for the renewal, once. Raises like `change`."""
        ...

    def open_checkout(
        self, cart: Cart, buyer: Buyer, *, metadata: Mapping[str, str], return_url: str | None
    ) -> Checkout:
        """A page on which the buyer can pay for the cart; the subscription will carry the metadata.

        Raises like `change`; a page that was opened unnoticed is paid by nobody, so trying again is safe.
        """
        ...
