"""How to call the API with curl, ready to be copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_ACCOUNT: Final = "acme"
_MEMBER: Final = "you"


@dataclass(frozen=True, slots=True)
class Examples:
    """The calls for one address; `key` is the API key, or the shell's word for it."""

    url: str
    key: str

    @property
    def accounts(self) -> str:
        """The shortest of all; curl needs no scheme."""
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
        """All of them, each under what it asks."""
        asked = {
            "how many seats has acme, and how many of them are used?": self.seats,
            "may one more person join?": self.can_add,
            "give that person a seat": self.claim,
            "take it back": self.release,
        }
        return "\n".join(f"  # {question}\n  {call}" for question, call in asked.items())

    @property
    def _account(self) -> str:
        return f"{self.url}/v1/accounts/{_ACCOUNT}"

    def _curl(self) -> str:
        return f'curl -H "Authorization: Bearer {self.key}"'
