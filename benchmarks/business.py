"""The simulator as the provider: a separate process, filled and queried over its control API.

There are three kinds of customers, one for each way of buying seats: with a priced add-on, with a free
add-on, and by the quantity of the product.
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

_GIFT: Final = {"id": "adn_gift", "name": "Free seat", "price": 0}
_NO_WEBHOOKS: Final = "http://127.0.0.1:9/"  # nothing listens there; webhooks are switched off anyway
_TIMEOUT_SECONDS: Final = 60.0

Fields = Mapping[str, Any]

PRICED: Final[Fields] = {"addons": [{"addon_id": "adn_seat", "quantity": 7}]}
GIVEN: Final[Fields] = {"addons": [{"addon_id": "adn_gift", "quantity": 3}]}
PER_USER: Final[Fields] = {"product_id": "pdt_per_user", "quantity": 12}


@dataclass(frozen=True, slots=True)
class Calls:
    """The API calls of one round: list pages, retrieves of one subscription, and their total time."""

    pages: int
    retrieves: int
    refused: int
    seconds: float


class Business:
    """One running simulator. Webhooks are off, and there are no rate limits unless `turn` sets them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._request("PATCH", "knobs", {"webhooks_enabled": False, "rate_limits": []})
        self._request("POST", "addons", _GIFT)

    def turn(self, **knobs: object) -> None:
        """Set these knobs of the simulator (see simulator/README.md)."""
        self._request("PATCH", "knobs", knobs)

    def open(self, count: int, like: Fields, *, prefix: str) -> Sequence[str]:
        """Open `count` subscriptions for the accounts `PREFIX-0`, `PREFIX-1`, ...; return their ids."""
        wanted = {"count": count, "account_prefix": prefix, "subscription": like}
        ids: list[str] = self._request("POST", "subscriptions/bulk", wanted)["ids"]
        return ids

    def change(self, subscription_id: str, action: str, **options: object) -> None:
        """Change the subscription by a control action, without a webhook."""
        self._request("POST", f"subscriptions/{subscription_id}/{action}", {**options, "silently": True})

    def set(self, subscription_id: str, **fields: object) -> None:
        """Set these fields of the subscription and leave all others unchanged, including its price."""
        self._request("PATCH", f"subscriptions/{subscription_id}", {**fields, "silently": True})

    def subscriptions(self) -> Sequence[Fields]:
        """All subscriptions at the provider, with their add-ons."""
        items: list[Fields] = self._request("GET", "subscriptions?page_size=1000000")["items"]
        return items

    def forget_calls(self) -> None:
        self._request("DELETE", "requests")

    def calls(self) -> Calls:
        """The calls since the last `forget_calls`."""
        log = self._request("GET", "requests?limit=100000")
        entries = log["requests"]
        return Calls(
            pages=log["routes"].get(LIST, 0),
            retrieves=log["routes"].get(RETRIEVE, 0),
            refused=log["total"] - log["statuses"].get("200", 0),
            seconds=_span(entries) if entries else 0.0,
        )

    def successes(self) -> int:
        """How many calls since the last `forget_calls` had the status 200."""
        count: int = self._request("GET", "requests?limit=0")["statuses"].get("200", 0)
        return count

    def _request(self, method: str, path: str, body: object = None) -> Any:
        url = f"{self.url}/_control/{path}"
        response = self._http.request(method, url, json=body, timeout=_TIMEOUT_SECONDS)
        response.raise_for_status()
        return response.json() if response.content else None


@contextmanager
def business(site: Site) -> Iterator[Business]:
    """Start a simulator and yield it. All simulators started here give the same ids in the same order."""
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
    """The seats bought, by the catalogue above. A missing `addons` field counts as no add-ons."""
    if subscription["product_id"] == PER_USER["product_id"]:
        return int(subscription["quantity"])
    return INCLUDED + sum(addon["quantity"] for addon in subscription.get("addons") or ())


def _span(entries: Sequence[Fields]) -> float:
    """Seconds from the start of the first request to the end of the last response."""
    began, last = (datetime.fromisoformat(entry["at"]) for entry in (entries[0], entries[-1]))
    return (last - began).total_seconds() + float(entries[-1]["seconds"])
