"""Notify: send what is in the outbox to the endpoints of the app, signed by Standard Webhooks.

A worker takes one endpoint at a time, with its oldest letters, and sends with no transaction open. An
endpoint that does not answer at all is left alone for a while: it holds up no other, and no sync. For the
same reason one worker notifies at a time, however many there are: the others are there for syncs.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

import orjson
import requests
import urllib3
from sqlalchemy import text as sql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from standardwebhooks import Webhook

from domain.errors import UnsafeUrl
from models import notice, notice_endpoint
from models.database import dedicated_connection
from models.notice import PendingDelivery
from models.notice_endpoint import TargetEndpoint
from runtime.wiring import Runtime
from services.notices import safe_urls

log = logging.getLogger(__name__)

# A run ends soon, so that the worker is back at its syncs; a lease outlives whatever is left of it.
LEASE: Final = timedelta(seconds=60)
_RUN_FOR: Final = 8.0
# Longer than a task may take: whoever holds the lock and says nothing for so long is not at work.
_FROZEN_AFTER: Final = timedelta(seconds=60)
_LOCK: Final = 7_365_617_402  # next to the one of the migrations
_MOST_AT_ONCE: Final = 50
_REST: Final = timedelta(seconds=30)
_SLOW: Final = 1.0  # seconds for a letter, on average

_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0  # from the request sent to the last byte we care for
_MOST_BYTES: Final = 16 * 1024  # nothing of an answer is used; a short one keeps its connection open

# Seconds after each failed attempt, about a day in all; then a person should look.
PAUSES: Final = (5, 60, 300, 1_800, 7_200, 21_600, 28_800, 28_800)


class Verdict(StrEnum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """The endpoint answered, and did not want it."""

    SILENT = "silent"
    """Nobody answered, or not in full and in time."""

    GONE = "gone"
    """The endpoint wants nothing any more."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The verdict and its reason, in our own words: an answer's text may be anything."""

    verdict: Verdict
    reason: str = ""


def notify(runtime: Runtime) -> int:
    """Send what is due, for a bounded time; what is left stays due. Returns how many were tried: none
    while another worker is at it.
    """
    with _alone(runtime) as is_alone:
        return _send_due(runtime) if is_alone else 0


@contextmanager
def _alone(runtime: Runtime) -> Iterator[bool]:
    """Whether no other worker is at it, nor will be until the end.

    The lock goes with its connection, and so with the process; the server ends that of a frozen one.
    """
    patience = {"patience": str(_FROZEN_AFTER // timedelta(milliseconds=1))}
    with dedicated_connection(runtime.engine) as connection:
        connection.execute(sql("SELECT set_config('idle_session_timeout', :patience, false)"), patience)
        yield bool(connection.scalar(sql("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}))


def _send_due(runtime: Runtime) -> int:
    until = time.monotonic() + _RUN_FOR
    tried = 0
    allow_private = runtime.settings.notices_allow_private
    with closing(safe_urls.new_session(allow_private=allow_private)) as http:
        while time.monotonic() < until and (addressee := _take_endpoint(runtime)) is not None:
            tried += _work_off(runtime, http, addressee, until)
    return tried


def _take_endpoint(runtime: Runtime) -> TargetEndpoint | None:
    with runtime.sessions.begin() as session:
        return notice_endpoint.lease_next(session, lease=LEASE)


def _work_off(runtime: Runtime, http: requests.Session, to: TargetEndpoint, until: float) -> int:
    """Send one endpoint its letters until it is silent or time is up; how many were tried."""
    with runtime.sessions.begin() as session:
        letters = notice.lease_due(session, to.endpoint_id, limit=_MOST_AT_ONCE, lease=LEASE)
    tried, outcome, began = 0, AttemptResult(Verdict.DELIVERED), time.monotonic()
    for letter in letters:
        if time.monotonic() >= until or outcome.verdict in (Verdict.SILENT, Verdict.GONE):
            break
        outcome = _try(runtime, http, to, letter)
        tried += 1
        try:
            with runtime.sessions.begin() as session:
                _write(session, to, letter, outcome)
        except SQLAlchemyError:
            with suppress(SQLAlchemyError), runtime.sessions.begin() as session:
                notice.release(session, letters[tried:])  # they were not tried, and are not counted
            raise
        _tell_log(to, letter, outcome)
    with runtime.sessions.begin() as session:
        notice.release(session, letters[tried:])
        rest = _rest(outcome, tried, time.monotonic() - began)
        notice_endpoint.release(session, to.endpoint_id, rest=rest)
    return tried


def _rest(last: AttemptResult, tried: int, seconds: float) -> timedelta:
    """How long others, and syncs, go before an endpoint that was silent, or slow with so many letters."""
    if last.verdict is Verdict.SILENT:
        return _REST
    return timedelta(seconds=2 * seconds) if seconds > tried * _SLOW else timedelta(0)


def _try(
    runtime: Runtime, http: requests.Session, to: TargetEndpoint, letter: PendingDelivery
) -> AttemptResult:
    """One attempt. The URL is judged anew: its name may lead elsewhere by now."""
    body = _body(letter)
    headers = _headers(letter, body, to.secrets, datetime.now(UTC))
    try:
        safe_urls.check_form(to.url, allow_private=runtime.settings.notices_allow_private)
        return _judged(_post(http, to.url, body, headers))
    except UnsafeUrl as error:
        return AttemptResult(Verdict.SILENT, error.message)
    except requests.Timeout:
        return AttemptResult(Verdict.SILENT, "no answer in time")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        return AttemptResult(Verdict.SILENT, f"no answer: {type(error).__name__}")
    except Exception as error:  # a mistake of ours, or the task's time limit, must not stop those behind it
        log.exception("delivery failed", extra={"message_id": letter.message_id})
        return AttemptResult(Verdict.SILENT, f"unexpected {type(error).__name__}, see the log")


def _post(http: requests.Session, url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """The status of the answer; of its body a bounded part is read, and thrown away."""
    timeout = (_CONNECT_SECONDS, _ANSWER_SECONDS)
    with http.post(
        url, data=body, headers=headers, timeout=timeout, stream=True, allow_redirects=False
    ) as answer:
        answer.raw.read(_MOST_BYTES, decode_content=False)
    return answer.status_code


def _judged(status: int) -> AttemptResult:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return AttemptResult(Verdict.DELIVERED)
    verdict = Verdict.GONE if status == HTTPStatus.GONE else Verdict.REFUSED
    return AttemptResult(verdict, f"answered {status}")


def _write(session: Session, to: TargetEndpoint, letter: PendingDelivery, outcome: AttemptResult) -> None:
    if outcome.verdict is Verdict.DELIVERED:
        notice.delivered(session, letter)
    elif outcome.verdict is Verdict.GONE:
        notice_endpoint.disable(session, to.endpoint_id)
        notice.mark_all_dead(session, to.endpoint_id, "the endpoint answered 410 and is disabled")
    elif letter.attempt > len(PAUSES):
        notice.mark_dead(session, letter, f"gave up after {letter.attempt} attempts: {outcome.reason}")
    else:
        notice.retry_later(session, letter, outcome.reason, backoff(letter.attempt))


def backoff(attempt: int) -> timedelta:
    """How long to wait after the attempt of this number."""
    pause = PAUSES[min(attempt, len(PAUSES)) - 1]
    return timedelta(seconds=pause * random.uniform(0.8, 1.2))  # noqa: S311  jitter is no secret


def _body(letter: PendingDelivery) -> bytes:
    """The same bytes at every attempt."""
    data: dict[str, Any] = {} if letter.account_id is None else {"account_id": letter.account_id}
    document = {"type": letter.type, "timestamp": letter.created_at, "data": {**data, **letter.data}}
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def _headers(
    letter: PendingDelivery, body: bytes, secrets: Sequence[str], now: datetime
) -> Mapping[str, str]:
    signatures = (Webhook(secret).sign(letter.message_id, now, body.decode()) for secret in secrets)
    return {
        "Content-Type": "application/json",
        "User-Agent": "seatsync",
        "webhook-id": letter.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _tell_log(to: TargetEndpoint, letter: PendingDelivery, outcome: AttemptResult) -> None:
    log.info(
        "notice tried",
        extra={
            "endpoint_id": to.endpoint_id,
            "message_id": letter.message_id,
            "type": letter.type,
            "outcome": outcome.verdict.value,
            "reason": outcome.reason,
            "attempt": letter.attempt,
        },
    )
