"""Messages: the events to deliver, with all attempts to deliver them."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice

from simulator.refusal import Refusal
from simulator.webhooks.events import Event

KEPT = 200_000


class MessageState(StrEnum):
    """The state of a message. `dropped`: by a knob; `stopped`: because webhooks were disabled."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST request, with the status of the response or the error."""

    at: datetime
    seconds: float
    status: int | None
    error: str | None
    is_copy: bool

    @property
    def is_acknowledged(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Message:
    """An event and its webhook id, which is the same for every attempt."""

    webhook_id: str
    event: Event
    state: MessageState = MessageState.PENDING
    next_attempt_at: datetime | None = None
    attempts: list[Attempt] = field(default_factory=list)

    def shown(self) -> dict[str, object]:
        subscription = self.event.subscription
        return {
            "webhook_id": self.webhook_id,
            "type": self.event.type,
            "timestamp": self.event.occurred_at,
            "subscription_id": subscription.subscription_id if subscription else None,
            "state": self.state,
            "next_attempt_at": self.next_attempt_at,
            "attempts": list(self.attempts),
        }


class Outbox:
    """The latest messages by id, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[str, Message] = {}

    def add(self, message: Message) -> None:
        with self._lock:
            self._messages[message.webhook_id] = message
            if len(self._messages) > KEPT:
                del self._messages[next(iter(self._messages))]

    def get(self, webhook_id: str) -> Message:
        message = self._messages.get(webhook_id)
        if message is None:
            raise Refusal.not_found(f"Message {webhook_id} does not exist")
        return message

    def holds(self, message: Message) -> bool:
        return self._messages.get(message.webhook_id) is message

    def forget(self) -> None:
        with self._lock:
            self._messages.clear()

    def all(self, state: MessageState) -> list[Message]:
        with self._lock:
            return [message for message in self._messages.values() if message.state == state]

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(Counter(str(message.state) for message in self._messages.values()))

    def find(self, *, limit: int, **wanted: str) -> list[dict[str, object]]:
        """The latest `limit` messages whose fields have the wanted values, oldest first."""
        with self._lock:
            latest = list(reversed(self._messages.values()))
        matching = (
            shown
            for shown in (message.shown() for message in latest)
            if all(shown[name] == value for name, value in wanted.items())
        )
        return list(islice(matching, limit))[::-1]
