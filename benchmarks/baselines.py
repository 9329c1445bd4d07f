"""The baselines: what the same servers do when there is nothing of ours in between.

Started with the flags and the environment of the real processes, on the same database and Redis.
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
"""The task of `benchmarks.worker` that does nothing."""

_THREADS = 8


def accept() -> Flask:
    """Verify, insert, commit: no reading of the event, no ring, no error handling."""
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
    """One Redis GET, and its bytes as the answer: no key check, no validation, no ETag."""
    runtime, app = _runtime(), Flask(__name__)

    @app.get("/v1/accounts/<account_id>/seats")
    def seats(account_id: str) -> Response:
        return Response(runtime.redis.get(bare_key(account_id)), mimetype="application/json")

    return app


def bare_key(account_id: str) -> str:
    """Where the bare view finds its bytes."""
    return f"bare:{account_id}"


def _runtime() -> Runtime:
    return build(Settings.from_env(), pool_size=_THREADS)
