"""HTTP client for a provider's API. It limits the time and size of each response, keeps within the request
budget, and turns each kind of failure into an error of its own.

There are no retries here. The sync queue in the database decides when to retry.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
import requests
import urllib3

from domain.errors import SettingsError
from domain.provider_errors import (
    BudgetSpent,
    KeyRefused,
    OutcomeUnknown,
    PermanentError,
    ProviderError,
    TransientError,
)
from providers import fields
from providers.base import Priority
from providers.headers import count, http_date, seconds_until
from providers.rate_limit.budget import Budget
from providers.timed_session import new_session

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 6.0  # from the request sent to the last byte received
_MOST_BYTES = 2 * 1024 * 1024  # about ten times a page of 100 subscriptions
_CHUNK = 64 * 1024

_KEY_FORMAT = re.compile(r"[!-~]{1,512}")  # what an HTTP header can contain
# Error codes are UPPER_SNAKE (Dodo documentation, error codes). Other text may contain personal data, and a
# number comes from a proxy.
_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

# Client errors after which a retry helps, and those that need a valid API key.
_RETRYABLE = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}
_KEY_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

_KEY_ADVICE = (
    "Check DODO_PAYMENTS_API_KEY, and that it belongs to the mode in DODO_PAYMENTS_ENVIRONMENT. Then restart "
    "the processes."
)

JsonObject = dict[str, Any]


class NotProcessed(TransientError):
    """The request did not reach the provider, or was rejected by its rate limit. It had no effect."""


class InvalidPathSegment(ValueError):
    """A path segment that is empty or malformed, or would lead to another path."""


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """A response of the provider. `at` is the time by its clock if it sends one, else by ours, in seconds
    since 1970.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def wait(self) -> float | None:
        """The seconds to wait before the next request; None if the provider does not say."""
        retry_after = seconds_until(self.headers.get("Retry-After"), self.at)
        if retry_after is None and self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return self.resets_in  # a 429 may have only the rate-limit headers
        return retry_after

    @property
    def resets_in(self) -> float | None:
        """The seconds until the rate limit is reset; None if the provider does not say."""
        return seconds_until(self.headers.get("X-RateLimit-Reset"), self.at)


class Client:
    """One provider's API. Threads may share a client; after a fork, the child opens its own connections."""

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        api_key: str,
        budget: Budget,
        connect_seconds: float = _CONNECT_SECONDS,
        answer_seconds: float = _ANSWER_SECONDS,
        proxy: str | None = None,
    ) -> None:
        if not _KEY_FORMAT.fullmatch(api_key):
            raise SettingsError("The API key is empty, too long, or has characters other than visible ASCII.")
        self._provider = provider
        self._base_url = _checked_base_url(base_url)
        self._budget = budget
        self._timeout = (connect_seconds, answer_seconds)
        self._proxy = proxy
        self._session: requests.Session | None = None
        self._session_pid = 0
        self._clock_skew: timedelta | None = None
        headers = {
            "Authorization": f"Bearer {api_key}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": "seatsync",
        }
        # Prepared once, since `requests` would merge and check the same headers for every call.
        self._request = requests.Request("GET", self._base_url, headers=headers).prepare()

    @property
    def clock_skew(self) -> timedelta | None:
        """How far the provider's clock was ahead of ours at the last response; None before the first."""
        return self._clock_skew

    def get(
        self, *segments: str, priority: Priority, query: Mapping[str, str | int] | None = None
    ) -> JsonObject:
        """GET the JSON object at this path.

        Raises `InvalidPathSegment` before anything is sent; `TransientError`, including its subclasses
        `BudgetSpent` and `KeyRefused`; or `PermanentError`, with `status` and `provider_code` in its details.
        """
        return self._document(self._call("GET", segments, priority=priority, query=query))

    def query(self, *segments: str, priority: Priority, body: JsonObject) -> JsonObject:
        """POST a body to a path that changes nothing, and return the JSON object. Raises like `get`."""
        try:
            return self._document(self._call("POST", segments, priority=priority, body=body))
        except KeyRefused as error:
            raise _without_write_access(error) from error

    def write(
        self,
        method: str,
        *segments: str,
        priority: Priority,
        body: JsonObject | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> JsonObject:
        """Send a request that changes something. Returns the JSON object, or {} if the response is empty.

        Raises `OutcomeUnknown` if the change may have been made: sending it again could make it twice. After
        the errors that `get` raises, nothing was changed.
        """
        try:
            answer = self._call(method, segments, priority=priority, body=body, query=query)
            return self._document(answer) if answer.body.strip() else {}
        except (NotProcessed, BudgetSpent):
            raise
        except KeyRefused as error:
            raise _without_write_access(error) from error
        except TransientError as error:
            raise OutcomeUnknown(
                f"{error.message} It is unknown whether the change was made.", retry_after=error.retry_after
            ) from error

    def delete(self, *segments: str, priority: Priority) -> None:
        """DELETE the resource at this path. Raises like `get`."""
        self._call("DELETE", segments, priority=priority)

    def _document(self, answer: ProviderResponse) -> JsonObject:
        document = _json_object(answer.body)
        if document is None:
            raise TransientError(f"{self._provider} answered {answer.status} without a JSON object.")
        return document

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _call(
        self,
        method: str,
        segments: Sequence[str],
        *,
        priority: Priority,
        query: Mapping[str, str | int] | None = None,
        body: JsonObject | None = None,
    ) -> ProviderResponse:
        """Send a request within the budget. Returns the response if its status is 2xx, else raises."""
        url = self._url(segments, query)
        self._budget.acquire(priority)
        answer = self._send(self._prepare(method, url, body))
        self._update_budget(answer)
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise self._failure(answer)
        return answer

    def _url(self, segments: Sequence[str], query: Mapping[str, str | int] | None) -> str:
        path = "/".join([self._base_url, *map(_quoted, segments)])
        return f"{path}?{urlencode(query)}" if query else path

    def _prepare(self, method: str, url: str, body: JsonObject | None) -> requests.PreparedRequest:
        request = self._request.copy()
        request.method, request.url = method, url
        if body is not None:
            request.headers["Content-Type"] = "application/json"
            request.prepare_body(orjson.dumps(body), None)
        return request

    def _send(self, request: requests.PreparedRequest) -> ProviderResponse:
        try:
            with self._own_session().send(
                request, stream=True, timeout=self._timeout, allow_redirects=False
            ) as response:
                body = self._read(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            kind = NotProcessed if _is_unconnected(error) else TransientError
            raise kind(
                f"{self._provider} could not be reached, or did not send a complete response in time."
            ) from error
        return ProviderResponse(response.status_code, response.headers, body, self._clock(response.headers))

    def _read(self, response: requests.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > _MOST_BYTES:
                raise TransientError(f"{self._provider} sent more than {_MOST_BYTES} bytes in a response.")
        return bytes(body)

    def _own_session(self) -> requests.Session:
        """The session, created at the first call and again after a fork: processes must not share
        connections.
        """
        if self._session is None or self._session_pid != os.getpid():
            self._session, self._session_pid = new_session(proxy=self._proxy), os.getpid()
        return self._session

    def _clock(self, headers: Mapping[str, str]) -> float:
        """The time by the provider's `Date` header, else by our clock. Remembers the difference."""
        ours = time.time()
        theirs = http_date(headers.get("Date", ""))
        if theirs is None:
            return ours
        self._clock_skew = timedelta(seconds=round(theirs - ours))  # the header counts whole seconds
        return theirs

    def _update_budget(self, answer: ProviderResponse) -> None:
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._budget.note_refusal(answer.wait)
            return
        remaining = count(answer.headers.get("X-RateLimit-Remaining"))
        if remaining is not None:
            limit = count(answer.headers.get("X-RateLimit-Limit"))
            self._budget.note_remaining(remaining=remaining, limit=limit, resets_in=answer.resets_in)

    def _failure(self, answer: ProviderResponse) -> ProviderError:
        """The error for a response without success.

        The provider puts a code into every error. A response without one comes from a proxy or from a wrong
        base URL, so it is treated as an outage, whatever its status. A 429 means, from anybody, that the
        request was not processed.
        """
        code = error_code((_json_object(answer.body) or {}).get("code"))
        message = f"{self._provider} answered {answer.status} {code or 'without a known code'}."
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return NotProcessed(message, retry_after=answer.wait)
        is_client_error = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        if code is None or not is_client_error or answer.status in _RETRYABLE:
            return TransientError(message, retry_after=answer.wait)
        if answer.status in _KEY_REFUSED:
            return KeyRefused(f"{message} {_KEY_ADVICE}", retry_after=answer.wait)
        return PermanentError(message, details={"status": answer.status, "provider_code": code})


def _without_write_access(error: KeyRefused) -> KeyRefused:
    """The error with advice about write access, which previews need too (seen: 403 for a read-only key)."""
    return KeyRefused(
        f"{error.message.removesuffix(_KEY_ADVICE)}Previews and changes need an API key with write access. "
        "Set DODO_PAYMENTS_API_KEY to one and restart the processes.",
        retry_after=error.retry_after,
    )


def _is_unconnected(error: Exception) -> bool:
    """Whether no connection was made, so that nothing can have been sent."""
    cause = getattr(error.args[0], "reason", None) if error.args else None
    unconnected = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return isinstance(cause, unconnected)


def _checked_base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_plain = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        has_extras = "@" in parts.netloc or parts.query or parts.fragment or not text.isprintable()
    except ValueError:
        is_plain, has_extras = False, True
    if not is_plain or has_extras:  # the URL is not shown, because it may contain a password
        raise SettingsError("The provider's base URL must have the form https://HOST[:PORT][/PATH].")
    return text.rstrip("/")


def _quoted(segment: str) -> str:
    """The percent-encoded segment, which cannot add to the path or end it. Raises `InvalidPathSegment`."""
    if segment in {".", ".."} or fields.text(segment) is None:
        raise InvalidPathSegment
    return quote(segment, safe="")


def _json_object(body: bytes) -> JsonObject | None:
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def error_code(value: object) -> str | None:
    """The value if it is an error code of the provider; None for other text, which may be personal data."""
    return value if isinstance(value, str) and _ERROR_CODE.fullmatch(value) else None
