"""The baseline web apps: the same server doing only the indispensable work.

They are started with the flags and the environment of the real processes, on the same database and Redis.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import orjson
from flask import Flask, Response, request

from models import inbox
from models.inbox import Arrival, InboxState
from runtime.settings import Settings
from runtime.wiring import Runtime, build

EMPTY: Final = "benchmarks.empty"
"""Name of the empty task in `benchmarks.worker`."""

_THREADS = 8


def accept() -> Flask:
    """Verify, insert, commit. The event is not parsed, no worker is woken, no error is handled."""
    runtime, app = _runtime(), Flask(__name__)

    @app.post("/webhooks/dodo")
    def receive() -> Response:
        headers, body = list(request.headers.items()), request.get_data(cache=False)
        delivery = runtime.provider.verify(headers, body, datetime.now(UTC))
        arrival = Arrival(
            provider="dodo",
            event_id=delivery.event_id,
            type="subscription.updated",
            subscription_id=orjson.loads(body)["data"]["subscription_id"],
            occurred_at=None,
            state=InboxState.PENDING,
            reason=None,
            body=body,
        )
        with runtime.sessions.begin() as session:
            inbox.store(session, arrival)
        return Response(b"{}", 202, mimetype="application/json")

    return app


def read() -> Flask:
    """Return the bytes of one Redis GET: no API key check, no validation, no ETag."""
    runtime, app = _runtime(), Flask(__name__)

    @app.get("/v1/accounts/<account_id>/seats")
    def seats(account_id: str) -> Response:
        return Response(runtime.redis.get(bare_key(account_id)), mimetype="application/json")

    return app


def bare_key(account_id: str) -> str:
    """The Redis key of the document that the bare view returns."""
    return f"bare:{account_id}"


def _runtime() -> Runtime:
    return build(Settings.from_env(), pool_size=_THREADS)
