"""Responses that show an account as it was at an earlier time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from models import account
from webhook_app import problems
from webhook_app.context import app_context
from webhook_app.responses import json_response


def past_response(moment: datetime, read: Callable[[Session], Any]) -> Response:
    """What `read` returns, as JSON; it reads one snapshot of the database. 422 if `moment`, the parameter
    `at`, is in the future.
    """
    with app_context().runtime.sessions() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        if moment > account.now(session):
            return problems.invalid([problems.Fault("at", "is in the future")])
        return json_response(read(session))
