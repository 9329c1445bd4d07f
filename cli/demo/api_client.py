"""The service's HTTP API, called like any app backend calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import requests

from cli.demo.api_documents import Account, Event

_TIMEOUT: Final = 2.0
_PAGE: Final = 200


class ApiError(Exception):
    """The call did not do what it is for; its text says which call, and what came instead."""


class Unanswered(ApiError):
    """The web process is away; it comes back."""


class Unexpected(ApiError):
    """It answered, but with a status that it should not have."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that may be a refusal: then `body` is a problem document with its `code`."""

    is_granted: bool
    body: Mapping[str, Any]


class Api:
    """One caller; as its connection is kept open, each thread needs one of its own."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy lies between a machine and itself
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._known: dict[str, tuple[str, Account]] = {}

    def close(self) -> None:
        """Hang up; a web process that ends waits for callers who stay on the line."""
        self._session.close()

    def lag(self) -> float:
        """Seconds that the oldest unprocessed event has waited."""
        return float(self._get("/readyz")["oldest_unprocessed_seconds"])

    def account_ids(self) -> list[str]:
        found: list[str] = []
        query: dict[str, object] = {"limit": _PAGE}
        while True:
            page = self._get("/v1/accounts", query)
            found += [each["account_id"] for each in page["accounts"]]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    def account(self, account_id: str) -> Account:
        """The seats document; one that has not changed since is not sent again."""
        tag, known = self._known.get(account_id, ("", None))
        path = f"/v1/accounts/{quote(account_id, safe='')}/seats"
        answer = self._ask("GET", path, headers={"If-None-Match": tag} if tag else {})
        if answer.status_code == HTTPStatus.NOT_MODIFIED and known is not None:
            return known
        account = Account.from_json(_good(answer))
        self._known[account_id] = (answer.headers["ETag"], account)
        return account

    def newest_events(self, limit: int) -> Sequence[Event]:
        """Newest first."""
        return [Event.from_json(each) for each in self._get("/v1/inbox", {"limit": limit})["events"]]

    def can_add(self, account_id: str, role: str, count: int = 1) -> Mapping[str, Any]:
        return self._get(f"/v1/accounts/{quote(account_id, safe='')}/can-add", {"role": role, "count": count})

    def claim(
        self, account_id: str, member_id: str, role: str, *, email: str | None = None, hold: bool = False
    ) -> Reply:
        """Claim a seat, or with `hold` keep one for an invitation; a claim on a held seat confirms it."""
        answer = self._ask(
            "POST",
            f"/v1/accounts/{quote(account_id, safe='')}/claims",
            json={"member_id": member_id, "role": role, "email": email, "hold": hold},
            headers={"Idempotency-Key": str(uuid4())},
        )
        if answer.status_code == HTTPStatus.CONFLICT:
            return Reply(is_granted=False, body=answer.json())
        return Reply(is_granted=True, body=_good(answer))

    def release(self, account_id: str, member_id: str) -> None:
        path = f"/v1/accounts/{quote(account_id, safe='')}/members/{quote(member_id, safe='')}"
        _good(self._ask("DELETE", path))

    def _get(self, path: str, query: Mapping[str, object] | None = None) -> Mapping[str, Any]:
        return _good(self._ask("GET", path, params=query))

    def _ask(self, method: str, path: str, **request: Any) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, timeout=_TIMEOUT, **request)
        except requests.RequestException as error:
            raise Unanswered(f"{method} {path}: {type(error).__name__}") from error


def _good(answer: requests.Response) -> Mapping[str, Any]:
    if not answer.ok:
        raise Unexpected(f"{answer.request.method} {answer.request.path_url}: {answer.status_code}")
    body: Mapping[str, Any] = answer.json()
    return body
