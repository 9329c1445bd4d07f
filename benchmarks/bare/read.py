"""A bare view: Flask and one Redis GET with redis-py. No API key is checked."""

from __future__ import annotations

import os

from flask import Flask, Response
from redis import Redis


def create() -> Flask:
    """The app. `REDIS_URL` names the Redis with the documents."""
    app, client = Flask(__name__), Redis.from_url(os.environ["REDIS_URL"])

    @app.get("/v1/accounts/<account_id>/seats")
    def seats(account_id: str) -> Response:
        return Response(client.get(key(account_id)), mimetype="application/json")

    return app


def key(account_id: str) -> str:
    """The key of the account's document in Redis."""
    return f"bare:{account_id}"
