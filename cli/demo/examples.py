"""Example API calls with curl, ready to be copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_ACCOUNT: Final = "acme"
_MEMBER: Final = "you"


@dataclass(frozen=True, slots=True)
class Examples:
    """The calls to one address; `key` is the API key, or a shell variable that contains it."""

    url: str
    key: str

    @property
    def accounts(self) -> str:
        """The shortest call; curl needs no scheme."""
        return f"{self._curl()} {self.url.removeprefix('http://')}/v1/accounts"

    @property
    def seats(self) -> str:
        return f"{self._curl()} {self._account}/seats"

    @property
    def can_add(self) -> str:
        return f'{self._curl()} "{self._account}/can-add?role=team_member"'

    @property
    def claim(self) -> str:
        body = f'{{"member_id": "{_MEMBER}", "role": "team_member"}}'
        json = '-H "Content-Type: application/json"'
        return f"{self._curl()} {json} -d '{body}' {self._account}/claims"

    @property
    def release(self) -> str:
        return f"{self._curl()} -X DELETE {self._account}/members/{_MEMBER}"

    def text(self) -> str:
        """All calls, each under a comment that says what it does."""
        calls = {
            "how many seats does acme have, and how many are used?": self.seats,
            "can one more person join?": self.can_add,
            "claim a seat for that person": self.claim,
            "release it": self.release,
        }
        return "\n".join(f"  # {title}\n  {call}" for title, call in calls.items())

    @property
    def _account(self) -> str:
        return f"{self.url}/v1/accounts/{_ACCOUNT}"

    def _curl(self) -> str:
        return f'curl -H "Authorization: Bearer {self.key}"'
