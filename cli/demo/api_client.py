"""Client of the service's HTTP API, as an app backend would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import requests

from cli.demo.api_documents import Account, Event

_TIMEOUT_SECONDS: Final = 2.0
_PAGE_SIZE: Final = 200


class ApiError(Exception):
    """The call failed. The message names the call and the status or error."""


class Unavailable(ApiError):
    """The web process did not respond. It may be restarting."""


class UnexpectedStatus(ApiError):
    """The web process responded with a status that the demo does not expect."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a claim. If it was refused, `body` is the problem document."""

    is_granted: bool
    body: Mapping[str, Any]


class Api:
    """One API client with an open connection. Not thread-safe: each thread needs its own."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # calls to this machine must not go through a proxy
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._cached: dict[str, tuple[str, Account]] = {}

    def close(self) -> None:
        """Close the connection. A web process that shuts down waits for open connections."""
        self._session.close()

    def lag(self) -> float:
        """Age of the oldest unprocessed event in seconds."""
        return float(self._get("/readyz")["oldest_unprocessed_seconds"])

    def account_ids(self) -> list[str]:
        found: list[str] = []
        query: dict[str, object] = {"limit": _PAGE_SIZE}
        while True:
            page = self._get("/v1/accounts", query)
            found += [each["account_id"] for each in page["accounts"]]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    def account(self, account_id: str) -> Account:
        """The seats document; from the cache if it has not changed (304)."""
        etag, cached = self._cached.get(account_id, ("", None))
        path = f"/v1/accounts/{quote(account_id, safe='')}/seats"
        response = self._request("GET", path, headers={"If-None-Match": etag} if etag else {})
        if response.status_code == HTTPStatus.NOT_MODIFIED and cached is not None:
            return cached
        account = Account.from_json(_body(response))
        self._cached[account_id] = (response.headers["ETag"], account)
        return account

    def newest_events(self, limit: int) -> Sequence[Event]:
        """The newest events of the inbox, newest first."""
        return [Event.from_json(each) for each in self._get("/v1/inbox", {"limit": limit})["events"]]

    def can_add(self, account_id: str, role: str, count: int = 1) -> Mapping[str, Any]:
        return self._get(f"/v1/accounts/{quote(account_id, safe='')}/can-add", {"role": role, "count": count})

    def claim(
        self, account_id: str, member_id: str, role: str, *, email: str | None = None, hold: bool = False
    ) -> Reply:
        """Claim a seat; with `hold`, hold one for an invitation. A later claim without `hold` confirms it."""
        response = self._request(
            "POST",
            f"/v1/accounts/{quote(account_id, safe='')}/claims",
            json={"member_id": member_id, "role": role, "email": email, "hold": hold},
            headers={"Idempotency-Key": str(uuid4())},
        )
        if response.status_code == HTTPStatus.CONFLICT:
            return Reply(is_granted=False, body=response.json())
        return Reply(is_granted=True, body=_body(response))

    def release(self, account_id: str, member_id: str) -> None:
        path = f"/v1/accounts/{quote(account_id, safe='')}/members/{quote(member_id, safe='')}"
        _body(self._request("DELETE", path))

    def _get(self, path: str, query: Mapping[str, object] | None = None) -> Mapping[str, Any]:
        return _body(self._request("GET", path, params=query))

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, timeout=_TIMEOUT_SECONDS, **options)
        except requests.RequestException as error:
            raise Unavailable(f"{method} {path}: {type(error).__name__}") from error


def _body(response: requests.Response) -> Mapping[str, Any]:
    if not response.ok:
        call = f"{response.request.method} {response.request.path_url}"
        raise UnexpectedStatus(f"{call}: {response.status_code}")
    body: Mapping[str, Any] = response.json()
    return body
