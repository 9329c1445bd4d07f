"""A log of requests to the provider's API. The counts include requests that the log no longer holds."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime

KEPT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request and its response.

    `route` is method and URL pattern, `caller` the user agent, `fault` the fault that the knobs caused, if
    any.
    """

    method: str
    path: str
    query: str
    route: str
    status: int
    fault: str | None
    at: datetime
    seconds: float
    caller: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A request to change something, logged when it was carried out or refused.

    It is in the log before its response is sent, which may still be delayed, broken or lost.
    """

    route: str
    path: str
    status: int
    body: bytes

    @property
    def is_applied(self) -> bool:
        return self.status < 300

    def shown(self) -> dict[str, object]:
        """The write as JSON. `digest` is the SHA-256 of the raw body, to compare writes."""
        return {
            "route": self.route,
            "path": self.path,
            "status": self.status,
            "is_applied": self.is_applied,
            "body": self.body.decode(errors="replace"),
            "digest": hashlib.sha256(self.body).hexdigest(),
        }


class RequestLog:
    """The latest requests and writes, and the counts of all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        with self._lock:
            self._requests: deque[Request] = deque(maxlen=KEPT)
            self._routes: Counter[str] = Counter()
            self._statuses: Counter[str] = Counter()
            self._faults: Counter[str] = Counter()
            self._callers: Counter[str] = Counter()
            self._writes: deque[Write] = deque(maxlen=KEPT)
            self._applied: Counter[str] = Counter()

    def add(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)
            self._routes[request.route] += 1
            self._faults[request.fault or "none"] += 1
            self._statuses[str(request.status)] += 1
            self._callers[request.caller] += 1

    def note(self, write: Write) -> None:
        with self._lock:
            self._writes.append(write)
            if write.is_applied:
                self._applied[write.route] += 1

    def report(self, limit: int) -> dict[str, object]:
        """All counts, and the last `limit` requests and writes, oldest first."""
        with self._lock:
            return {
                "total": self._statuses.total(),
                "routes": dict(self._routes),
                "statuses": dict(self._statuses),
                "faults": dict(self._faults),
                "callers": dict(self._callers),
                "applied": dict(self._applied),
                "requests": list(self._requests)[-limit:] if limit else [],
                "writes": [write.shown() for write in list(self._writes)[-limit:]] if limit else [],
            }
