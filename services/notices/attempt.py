"""One attempt to deliver a notice: a POST signed by Standard Webhooks, and what its response means."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

import orjson
import requests
import urllib3
from standardwebhooks import Webhook

from domain.errors import UnsafeUrl
from models.notice import PendingDelivery
from models.notice_endpoint import TargetEndpoint
from services.notices import safe_urls

log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0  # from the request sent to the last byte read
_MOST_BYTES: Final = 16 * 1024  # the body is not used, but a connection can be kept only once it is read


class Verdict(StrEnum):
    """The outcome of an attempt."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """The endpoint answered, but not with 2xx."""

    SILENT = "silent"
    """The endpoint did not answer completely and in time, or may not be called."""

    GONE = "gone"
    """The endpoint answered 410: it wants no more notices."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The verdict, and the reason of a failure. It never quotes the response, whose text is not trusted."""

    verdict: Verdict
    reason: str = ""


def attempt_delivery(
    http: requests.Session, endpoint: TargetEndpoint, delivery: PendingDelivery, *, allow_private: bool
) -> AttemptResult:
    """Send the notice once; never raises. The URL is checked each time, because its name may resolve to
    another address by now.
    """
    body = _body(delivery)
    headers = _headers(delivery, body, endpoint.secrets, datetime.now(UTC))
    try:
        safe_urls.check_form(endpoint.url, allow_private=allow_private)
        return _judge(_post(http, endpoint.url, body, headers))
    except UnsafeUrl as error:
        return AttemptResult(Verdict.SILENT, error.message)
    except requests.Timeout:
        return AttemptResult(Verdict.SILENT, "no answer in time")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        return AttemptResult(Verdict.SILENT, f"no answer: {type(error).__name__}")
    except Exception as error:  # a bug, or the task's time limit, must not stop the deliveries after this one
        log.exception("notice delivery failed", extra={"message_id": delivery.message_id})
        return AttemptResult(Verdict.SILENT, f"unexpected {type(error).__name__}, see the log")


def _post(http: requests.Session, url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """The status of the response. A bounded part of its body is read and dropped."""
    timeout = (_CONNECT_SECONDS, _ANSWER_SECONDS)
    with http.post(
        url, data=body, headers=headers, timeout=timeout, stream=True, allow_redirects=False
    ) as response:
        response.raw.read(_MOST_BYTES, decode_content=False)
    return response.status_code


def _judge(status: int) -> AttemptResult:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return AttemptResult(Verdict.DELIVERED)
    verdict = Verdict.GONE if status == HTTPStatus.GONE else Verdict.REFUSED
    return AttemptResult(verdict, f"answered {status}")


def _body(delivery: PendingDelivery) -> bytes:
    """The same bytes at every attempt."""
    data: dict[str, Any] = {} if delivery.account_id is None else {"account_id": delivery.account_id}
    document = {"type": delivery.type, "timestamp": delivery.created_at, "data": {**data, **delivery.data}}
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def _headers(
    delivery: PendingDelivery, body: bytes, secrets: Sequence[str], now: datetime
) -> Mapping[str, str]:
    signatures = (Webhook(secret).sign(delivery.message_id, now, body.decode()) for secret in secrets)
    return {
        "Content-Type": "application/json",
        "User-Agent": "seatsync",
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
