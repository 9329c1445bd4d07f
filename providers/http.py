"""Calls to a provider: bounded in time and size, within the budget, every failure told apart.

Nothing is tried twice here: the database row is the one retry clock.
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

from domain.errors import (
    BudgetSpent,
    KeyRefused,
    OutcomeUnknown,
    PermanentError,
    ProviderError,
    SettingsError,
    TransientError,
)
from providers import fields
from providers.base import Caller
from providers.headers import count, http_date, seconds_until
from providers.rate_limit.budget import Budget
from providers.timed_session import new_session

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 6.0  # from the request sent to the last byte received
_MOST_BYTES = 2 * 1024 * 1024  # a page of 100 subscriptions is about a tenth of it
_CHUNK = 64 * 1024

_KEY_SHAPE = re.compile(r"[!-~]{1,512}")  # what an HTTP header can carry
# Dodo documentation, error codes: UPPER_SNAKE. Other text may be personal, and a number is a proxy's status.
_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

# Client errors that pass by themselves, and those that pass once a person has repaired the key.
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}
_KEY_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

_KEY_ADVICE = (
    "Check DODO_PAYMENTS_API_KEY, and that it belongs to the mode in DODO_PAYMENTS_ENVIRONMENT; then restart "
    "the processes."
)

JsonObject = dict[str, Any]


class NothingDone(TransientError):
    """The request did not reach the provider, or was turned away at its door."""


class Unnameable(ValueError):
    """A path segment that names nothing, or would name something else than it says."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `at` is the provider's clock if it shows one, else ours."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def wait(self) -> float | None:
        """How long the provider wants to be left alone; a 429 may say so in its rate-limit headers alone."""
        asked = seconds_until(self.headers.get("Retry-After"), self.at)
        return self.resets_in if asked is None and self.status == HTTPStatus.TOO_MANY_REQUESTS else asked

    @property
    def resets_in(self) -> float | None:
        return seconds_until(self.headers.get("X-RateLimit-Reset"), self.at)


class Client:
    """One provider's API. Threads may share it; a forked child opens connections of its own."""

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
        if not _KEY_SHAPE.fullmatch(api_key):
            raise SettingsError("The API key is empty, too long, or not made of visible ASCII characters.")
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
        # Prepared once: `requests` would merge and check the same headers for every call.
        self._request = requests.Request("GET", self._base_url, headers=headers).prepare()

    @property
    def clock_skew(self) -> timedelta | None:
        """How far the provider's clock was ahead of ours at the last answer; None before the first."""
        return self._clock_skew

    def get(self, *segments: str, caller: Caller, query: Mapping[str, str | int] | None = None) -> JsonObject:
        """The JSON object at this path.

        Raises `Unnameable` before anything is sent, `TransientError` (`BudgetSpent` and `KeyRefused` among
        them), and `PermanentError`, whose details hold the `status` and the `provider_code`.
        """
        return self._document(self._call("GET", segments, caller=caller, query=query))

    def ask(self, *segments: str, caller: Caller, body: JsonObject) -> JsonObject:
        """The JSON object that answers a question too long for a path: a POST that changes nothing.

        Raises what `get` raises.
        """
        try:
            return self._document(self._call("POST", segments, caller=caller, body=body))
        except KeyRefused as error:
            raise _without_write_access(error) from error

    def write(
        self, method: str, *segments: str, caller: Caller, body: JsonObject | None = None
    ) -> JsonObject:
        """Change something; the JSON object answered, empty where the answer is.

        Raises what `get` raises, and then nothing was changed, but `OutcomeUnknown` where that cannot be
        told: whoever tries again may do it twice.
        """
        try:
            answer = self._call(method, segments, caller=caller, body=body)
            return self._document(answer) if answer.body.strip() else {}
        except (NothingDone, BudgetSpent):
            raise
        except KeyRefused as error:
            raise _without_write_access(error) from error
        except TransientError as error:
            raise OutcomeUnknown(
                f"{error.message} Whether the change was made is not known.", retry_after=error.retry_after
            ) from error

    def delete(self, *segments: str, caller: Caller) -> None:
        """Delete what is at this path; raises what `get` raises."""
        self._call("DELETE", segments, caller=caller)

    def _document(self, answer: Answer) -> JsonObject:
        document = _json_object(answer.body)
        if document is None:
            raise TransientError(f"{self._provider} answered {answer.status}, but not with a JSON object.")
        return document

    def close(self) -> None:
        """Close the connections kept open; a later call opens new ones."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _call(
        self,
        method: str,
        segments: Sequence[str],
        *,
        caller: Caller,
        query: Mapping[str, str | int] | None = None,
        body: JsonObject | None = None,
    ) -> Answer:
        """The answer, if it is one of success; within the budget, which hears of it."""
        url = "/".join([self._base_url, *map(_quoted, segments)])
        self._budget.take(caller)
        answer = self._exchange(method, f"{url}?{urlencode(query)}" if query else url, body)
        self._tell_budget(answer)
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise self._failure(answer)
        return answer

    def _exchange(self, method: str, url: str, document: JsonObject | None) -> Answer:
        request = self._request.copy()
        request.method, request.url = method, url
        if document is not None:
            request.headers["Content-Type"] = "application/json"
            request.prepare_body(orjson.dumps(document), None)
        try:
            with self._own_session().send(
                request, stream=True, timeout=self._timeout, allow_redirects=False
            ) as response:
                body = self._read(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            kind = NothingDone if _is_unconnected(error) else TransientError
            raise kind(
                f"{self._provider} could not be reached, or did not answer in full and in time."
            ) from error
        return Answer(response.status_code, response.headers, body, self._clock(response.headers))

    def _read(self, response: requests.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > _MOST_BYTES:
                raise TransientError(f"{self._provider} answered with more than {_MOST_BYTES} bytes.")
        return bytes(body)

    def _own_session(self) -> requests.Session:
        """Made lazily, and anew after a fork: two processes must not share a connection."""
        if self._session is None or self._session_pid != os.getpid():
            self._session, self._session_pid = new_session(proxy=self._proxy), os.getpid()
        return self._session

    def _clock(self, headers: Mapping[str, str]) -> float:
        ours = time.time()
        theirs = http_date(headers.get("Date", ""))
        if theirs is None:
            return ours
        self._clock_skew = timedelta(seconds=round(theirs - ours))  # the header counts whole seconds
        return theirs

    def _tell_budget(self, answer: Answer) -> None:
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._budget.refused(answer.wait)
            return
        remaining = count(answer.headers.get("X-RateLimit-Remaining"))
        if remaining is not None:
            limit = count(answer.headers.get("X-RateLimit-Limit"))
            self._budget.told(remaining=remaining, limit=limit, resets_in=answer.resets_in)

    def _failure(self, answer: Answer) -> ProviderError:
        """What an answer without success means.

        The provider puts a code into every error. An answer without one comes from something in between, or
        from a wrong base URL: an outage, whatever its status. A 429 was turned away, by whomever.
        """
        code = error_code((_json_object(answer.body) or {}).get("code"))
        message = f"{self._provider} answered {answer.status} {code or 'without a known code'}."
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return NothingDone(message, retry_after=answer.wait)
        is_client_error = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        if code is None or not is_client_error or answer.status in _PASSING:
            return TransientError(message, retry_after=answer.wait)
        if answer.status in _KEY_REFUSED:
            return KeyRefused(f"{message} {_KEY_ADVICE}", retry_after=answer.wait)
        return PermanentError(message, details={"status": answer.status, "provider_code": code})


def _without_write_access(error: KeyRefused) -> KeyRefused:
    """The provider counts previews among the changes (seen: 403 for a read-only key)."""
    return KeyRefused(
        f"{error.message.removesuffix(_KEY_ADVICE)}To preview or change anything, it needs an API key with "
        "write access: put one into DODO_PAYMENTS_API_KEY and restart the processes.",
        retry_after=error.retry_after,
    )


def _is_unconnected(error: Exception) -> bool:
    """Whether there was no connection at all, so that nothing can have been sent over it."""
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
    if not is_plain or has_extras:  # the text is not shown: it may hold a password
        raise SettingsError("The provider's base URL is not of the form https://HOST[:PORT][/PATH].")
    return text.rstrip("/")


def _quoted(segment: str) -> str:
    """The segment percent-encoded whole, so that it can neither leave its place nor end the path."""
    if segment in {".", ".."} or fields.text(segment) is None:
        raise Unnameable
    return quote(segment, safe="")


def _json_object(body: bytes) -> JsonObject | None:
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def error_code(value: object) -> str | None:
    """The value if it is a code of the provider's and no other text, which may be personal."""
    return value if isinstance(value, str) and _ERROR_CODE.fullmatch(value) else None
