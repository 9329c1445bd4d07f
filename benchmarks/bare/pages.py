"""Fetches the pages of the provider's list with requests, and does nothing else with them.

`python -m benchmarks.bare.pages URL API_KEY PAGES` fetches them once for each line it reads, and prints the
seconds that took.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Final

import requests

_PAGE_SIZE: Final = 100
_TIMEOUT_SECONDS: Final = 10.0


def fetch(base_url: str, api_key: str, *, pages: int) -> None:
    """Fetch and parse that many full pages."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {api_key}"
        query = {"page_size": _PAGE_SIZE, "created_at_lte": datetime.now(UTC).isoformat()}
        for number in range(pages):
            response = session.get(
                f"{base_url}/subscriptions", params={"page_number": number, **query}, timeout=_TIMEOUT_SECONDS
            )
            response.raise_for_status()
            if len(response.json()["items"]) != _PAGE_SIZE:
                raise RuntimeError(f"page {number} is not full")


if __name__ == "__main__":
    url, key, number = sys.argv[1:]
    for _ in sys.stdin:
        began = time.perf_counter()
        fetch(url, key, pages=int(number))
        print(time.perf_counter() - began, flush=True)
