"""What a provider must be able to do. A new provider is one new file in this folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from seats.snapshot import SubscriptionSnapshot


class Caller(StrEnum):
    """Who asks, the most urgent first: a person who waits, a webhook, the timer."""

    INTERACTIVE = "interactive"
    WEBHOOK = "webhook"
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One authentic HTTP arrival: its message id (the same on every retry), when this attempt was
    signed, and the bytes that were signed. `secret_position` says which of the configured secrets
    vouches for it: 0 is the newest, anything else a hint that a rotation is not finished.
    """

    event_id: str
    signed_at: datetime
    body: bytes
    secret_position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a delivery says.

    `type` is the provider's word, or `unknown` where the body has none. `concerns_seats` is true for
    `subscription.*` alone. `unreadable` says why the body cannot be used (the delivery is kept as a dead
    letter with that reason); otherwise it is None. `snapshot` is the state the body claims: a hint, never
    the truth; None where it cannot be told, which is no reason not to ask the provider.
    """

    type: str
    occurred_at: datetime | None = None
    business_id: str | None = None
    subscription_id: str | None = None
    concerns_seats: bool = False
    snapshot: SubscriptionSnapshot | None = None
    unreadable: str | None = None


class Provider(Protocol):
    """A billing provider as the rest of the house sees it."""

    @property
    def name(self) -> str:
        """The provider's place in `/webhooks/NAME`."""
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

    def pages(
        self, *, created_before: datetime, first_page: int = 0
    ) -> Iterator[Sequence[SubscriptionSnapshot]]:
        """All subscriptions created up to a moment, a page at a time; their `addons` are None.

        Raises what `retrieve` raises; a walk ended by that goes on with the number of the page it missed.
        """
        ...
