"""The simulator as the provider: a process of its own, filled and asked over its control API.

Three kinds of customers, so that each way of buying seats is there: by an add-on with a price, by one that
is free, and by the quantity of the product.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import requests

from benchmarks.bodies import PROVIDER_KEY, SECRET
from benchmarks.servers import Site, await_web
from runtime.embedded.server import free_port
from runtime.supervisor import Command

INCLUDED: Final = 5
CATALOG: Final = f"""
[roles]
member = "full"

[products.pdt_team]
name = "Team"
included = {{ full = {INCLUDED} }}
addons.adn_seat = {{ full = 1 }}
addons.adn_gift = {{ full = 1 }}

[products.pdt_per_user]
name = "Per user"
per_unit = {{ full = 1 }}
"""

LIST: Final = "GET /subscriptions"
RETRIEVE: Final = "GET /subscriptions/<subscription_id>"

_GIFT: Final = {"id": "adn_gift", "name": "Seat on the house", "price": 0}
_NO_WEBHOOKS: Final = "http://127.0.0.1:9/"  # nobody listens there, and nothing is sent
_PATIENCE: Final = 60.0

Fields = Mapping[str, Any]

PRICED: Final[Fields] = {"addons": [{"addon_id": "adn_seat", "quantity": 7}]}
GIVEN: Final[Fields] = {"addons": [{"addon_id": "adn_gift", "quantity": 3}]}
PER_USER: Final[Fields] = {"product_id": "pdt_per_user", "quantity": 12}


@dataclass(frozen=True, slots=True)
class Calls:
    """What the API was asked: how often for a page, how often for one subscription, and over what time."""

    pages: int
    retrieves: int
    refused: int
    seconds: float


class Business:
    """One running simulator, without webhooks and, until told otherwise, without limits."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._ask("PATCH", "knobs", {"webhooks_enabled": False, "rate_limits": []})
        self._ask("POST", "addons", _GIFT)

    def turn(self, **knobs: object) -> None:
        """Set these knobs of the simulator."""
        self._ask("PATCH", "knobs", knobs)

    def open(self, count: int, like: Fields, *, prefix: str) -> Sequence[str]:
        """So many subscriptions, of the accounts `PREFIX-0` and so on; their ids in that order."""
        wanted = {"count": count, "account_prefix": prefix, "subscription": like}
        ids: list[str] = self._ask("POST", "subscriptions/bulk", wanted)["ids"]
        return ids

    def change(self, subscription_id: str, action: str, **options: object) -> None:
        """Let something happen to it that no webhook tells of."""
        self._ask("POST", f"subscriptions/{subscription_id}/{action}", {**options, "silently": True})

    def set(self, subscription_id: str, **fields: object) -> None:
        """Give it these fields, and leave all others, its price too, as they are."""
        self._ask("PATCH", f"subscriptions/{subscription_id}", {**fields, "silently": True})

    def subscriptions(self) -> Sequence[Fields]:
        """All of them as they are, add-ons and all."""
        items: list[Fields] = self._ask("GET", "subscriptions?page_size=1000000")["items"]
        return items

    def forget_calls(self) -> None:
        self._ask("DELETE", "requests")

    def calls(self) -> Calls:
        """What was asked since the last `forget_calls`, from the first request to the last answer."""
        told = self._ask("GET", "requests?limit=100000")
        asked = told["requests"]
        return Calls(
            pages=told["routes"].get(LIST, 0),
            retrieves=told["routes"].get(RETRIEVE, 0),
            refused=told["total"] - told["statuses"].get("200", 0),
            seconds=_span(asked) if asked else 0.0,
        )

    def answered(self) -> int:
        """How many requests were not refused since the last `forget_calls`."""
        given: int = self._ask("GET", "requests?limit=0")["statuses"].get("200", 0)
        return given

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self._http.request(method, f"{self.url}/_control/{path}", json=body, timeout=_PATIENCE)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def business(site: Site) -> Iterator[Business]:
    """A simulator that any other started like this equals, down to the ids it gives."""
    port = free_port(None)
    options = {
        "--port": str(port),
        "--api-key": PROVIDER_KEY,
        "--webhook-url": _NO_WEBHOOKS,
        "--webhook-secret": SECRET,
    }
    argv = [sys.executable, "-m", "simulator", *(word for option in options.items() for word in option)]
    with site.running(Command("simulator", argv, site.environment)):
        await_web(port)
        yield Business(f"http://127.0.0.1:{port}")


def seats_of(subscription: Fields) -> int:
    """What was bought by the catalogue above; add-ons that are not told of count as none."""
    if subscription["product_id"] == PER_USER["product_id"]:
        return int(subscription["quantity"])
    return INCLUDED + sum(addon["quantity"] for addon in subscription.get("addons") or ())


def _span(asked: Sequence[Fields]) -> float:
    """Seconds from the first request to the last answer."""
    began, last = (datetime.fromisoformat(one["at"]) for one in (asked[0], asked[-1]))
    return (last - began).total_seconds() + float(asked[-1]["seconds"])
