"""Signs deliveries, and rotates the secret."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from standardwebhooks import Webhook

OVERLAP_SECONDS = 24 * 3600.0


class Signer:
    """Signs with the current secret, and for a day after a rotation also with the previous one."""

    def __init__(self, secret: str) -> None:
        self._first = secret
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.secret = self._first
            self._keys = [Webhook(self._first)]
            self._overlap_ends = 0.0

    def rotate(self, secret: str, speed: float) -> None:
        with self._lock:
            self._keys = [Webhook(secret), self._keys[0]]
            self.secret = secret
            self._overlap_ends = time.monotonic() + OVERLAP_SECONDS / speed

    def headers(self, webhook_id: str, body: bytes, now: datetime) -> dict[str, str]:
        """The signed headers. `now` is the time of this attempt, not of the event."""
        return {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.astimezone(UTC).timestamp())),
            "webhook-signature": " ".join(
                key.sign(webhook_id, now.astimezone(UTC), body.decode()) for key in self._valid_keys()
            ),
        }

    def _valid_keys(self) -> list[Webhook]:
        with self._lock:
            return self._keys if time.monotonic() < self._overlap_ends else self._keys[:1]
