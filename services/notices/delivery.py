"""Deliver notices: which endpoint comes next, what becomes of each delivery, and when it is tried again.

A worker leases one endpoint at a time with its oldest deliveries, and sends with no transaction open. An
endpoint that does not answer rests for a while, so that it delays neither other endpoints nor syncs. For the
same reason only one worker sends notices at a time.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import Final

import requests
from sqlalchemy import text as sql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import notice, notice_endpoint
from models.database import dedicated_connection
from models.notice import PendingDelivery
from models.notice_endpoint import TargetEndpoint
from runtime.wiring import Runtime
from services.notices import safe_urls
from services.notices.attempt import AttemptResult, Verdict, attempt_delivery

log = logging.getLogger(__name__)

# A run is short, so that the worker soon returns to syncs. The lease is longer than a run can take.
LEASE: Final = timedelta(seconds=60)
_RUN_SECONDS: Final = 8.0
# Longer than a task may take: a worker whose connection was idle for so long is frozen, and loses the lock.
_FROZEN_AFTER: Final = timedelta(seconds=60)
_LOCK: Final = 7_365_617_402  # next to the one of the migrations
_MOST_AT_ONCE: Final = 50
_REST: Final = timedelta(seconds=30)
_SLOW_SECONDS: Final = 1.0  # per delivery, on average

# Seconds after each failed attempt, about a day in all.
PAUSES: Final = (5, 60, 300, 1_800, 7_200, 21_600, 28_800, 28_800)


def notify(runtime: Runtime) -> int:
    """Send due notices for about eight seconds, and return how many were tried. The rest stay due.

    0 if nothing is due, or while another worker sends notices.
    """
    with _lock_for_one_worker(runtime) as is_ours:
        return _send_due(runtime) if is_ours else 0


@contextmanager
def _lock_for_one_worker(runtime: Runtime) -> Iterator[bool]:
    """Yield True if this is now the only worker that sends notices, False if another one is.

    The lock belongs to a connection, so it ends with the process. The server closes the connection of a
    frozen process.
    """
    timeout = {"timeout": str(_FROZEN_AFTER // timedelta(milliseconds=1))}
    with dedicated_connection(runtime.lock_engine) as connection:
        connection.execute(sql("SELECT set_config('idle_session_timeout', :timeout, false)"), timeout)
        yield bool(connection.scalar(sql("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}))


def _send_due(runtime: Runtime) -> int:
    until = time.monotonic() + _RUN_SECONDS
    tried = 0
    allow_private = runtime.settings.notices_allow_private
    with closing(safe_urls.new_session(allow_private=allow_private)) as http:
        while time.monotonic() < until and (endpoint := _lease_endpoint(runtime)) is not None:
            tried += _send_to_endpoint(runtime, http, endpoint, until)
    return tried


def _lease_endpoint(runtime: Runtime) -> TargetEndpoint | None:
    with runtime.sessions.begin() as session:
        return notice_endpoint.lease_next(session, lease=LEASE)


def _send_to_endpoint(
    runtime: Runtime, http: requests.Session, endpoint: TargetEndpoint, until: float
) -> int:
    """Send the endpoint its due notices, oldest first, until it fails to answer or the monotonic time
    `until`. Returns how many were tried.
    """
    with runtime.sessions.begin() as session:
        deliveries = notice.lease_due(session, endpoint.endpoint_id, limit=_MOST_AT_ONCE, lease=LEASE)
    tried, result, began = 0, AttemptResult(Verdict.DELIVERED), time.monotonic()
    allow_private = runtime.settings.notices_allow_private
    for delivery in deliveries:
        if time.monotonic() >= until or result.verdict in (Verdict.SILENT, Verdict.GONE):
            break
        result = attempt_delivery(http, endpoint, delivery, allow_private=allow_private)
        tried += 1
        try:
            with runtime.sessions.begin() as session:
                _store_result(session, endpoint, delivery, result)
        except SQLAlchemyError:
            with suppress(SQLAlchemyError), runtime.sessions.begin() as session:
                notice.release(session, deliveries[tried:])
            raise
        _log_attempt(endpoint, delivery, result)
    with runtime.sessions.begin() as session:
        notice.release(session, deliveries[tried:])
        rest = _rest(result, tried, time.monotonic() - began)
        notice_endpoint.release(session, endpoint.endpoint_id, rest=rest)
    return tried


def _store_result(
    session: Session, endpoint: TargetEndpoint, delivery: PendingDelivery, result: AttemptResult
) -> None:
    if result.verdict is Verdict.DELIVERED:
        notice.delivered(session, delivery)
    elif result.verdict is Verdict.GONE:
        notice_endpoint.disable(session, endpoint.endpoint_id)
        notice.mark_all_dead(session, endpoint.endpoint_id, "the endpoint answered 410 and is disabled")
    elif delivery.attempt > len(PAUSES):
        notice.mark_dead(session, delivery, f"gave up after {delivery.attempt} attempts: {result.reason}")
    else:
        notice.retry_later(session, delivery, result.reason, backoff(delivery.attempt))


def backoff(attempt: int) -> timedelta:
    """How long to wait after this attempt (1 is the first), with jitter."""
    pause = PAUSES[min(attempt, len(PAUSES)) - 1]
    return timedelta(seconds=pause * random.uniform(0.8, 1.2))  # noqa: S311  jitter is no secret


def _rest(last: AttemptResult, tried: int, seconds: float) -> timedelta:
    """How long an endpoint that did not answer, or answered slowly, is left alone."""
    if last.verdict is Verdict.SILENT:
        return _REST
    return timedelta(seconds=2 * seconds) if seconds > tried * _SLOW_SECONDS else timedelta(0)


def _log_attempt(endpoint: TargetEndpoint, delivery: PendingDelivery, result: AttemptResult) -> None:
    log.info(
        "notice delivery attempted",
        extra={
            "endpoint_id": endpoint.endpoint_id,
            "message_id": delivery.message_id,
            "type": delivery.type,
            "outcome": result.verdict.value,
            "reason": result.reason,
            "attempt": delivery.attempt,
        },
    )
