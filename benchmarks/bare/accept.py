"""A bare webhook receiver: Flask, standardwebhooks and one psycopg insert into a table with a unique id."""

from __future__ import annotations

import os
from queue import LifoQueue
from typing import Final

import psycopg
from flask import Flask, Response, request
from standardwebhooks import Webhook

TABLE: Final = "CREATE TABLE bare_inbox (id text PRIMARY KEY, body bytea NOT NULL)"

_INSERT: Final = "INSERT INTO bare_inbox (id, body) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_CONNECTIONS: Final = 8


def create() -> Flask:
    """The app. `DATABASE_URL` names a database with the table above."""
    app, webhook = Flask(__name__), Webhook(os.environ["DODO_PAYMENTS_WEBHOOK_KEY"])
    url = os.environ["DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://")
    # Not one for each thread: a greenlet lives only as long as its client's connection.
    idle: LifoQueue[psycopg.Connection] = LifoQueue()
    for _ in range(_CONNECTIONS):
        idle.put(psycopg.connect(url, autocommit=True))

    @app.post("/webhooks/dodo")
    def receive() -> Response:
        body = request.get_data()
        webhook.verify(body, dict(request.headers))
        connection = idle.get()
        try:
            connection.execute(_INSERT, (request.headers["webhook-id"], body))
        finally:
            idle.put(connection)
        return Response(b"{}", 202, mimetype="application/json")

    return app
