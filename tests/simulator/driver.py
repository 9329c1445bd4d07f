"""Helpers to call the simulator's two HTTP APIs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests


@dataclass(frozen=True)
class Control:
    session: requests.Session
    url: str

    def call(self, method: str, path: str, **body: Any) -> Any:
        answer = self.session.request(method, f"{self.url}{path}", json=body or None, timeout=10)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def create(self, **fields: Any) -> Any:
        return self.call("POST", "/subscriptions", **{"silently": True, **fields})

    def payments(self, subscription: Any, reason: str = "plan_change") -> Any:
        query = f"subscription_id={subscription['subscription_id']}&reason={reason}"
        return self.call("GET", f"/payments?{query}")["payments"]

    def act(self, subscription: Any, action: str, **options: Any) -> Any:
        return self.call("POST", f"/subscriptions/{subscription['subscription_id']}/{action}", **options)

    def turn(self, **knobs: Any) -> Any:
        return self.call("PATCH", "/knobs", **knobs)

    def emit(self, event_type: str, **options: Any) -> Any:
        return self.call("POST", "/emit", type=event_type, **options)


@dataclass(frozen=True)
class Provider:
    session: requests.Session
    url: str

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, f"{self.url}{path}", **{"timeout": 10, **options})

    def retrieve(self, subscription: Any) -> Any:
        return self.call("GET", f"/subscriptions/{subscription['subscription_id']}").json()

    def page(self, number: int, **query: Any) -> list[Any]:
        return self.call("GET", "/subscriptions", params={"page_number": number, **query}).json()["items"]

    def change_plan(self, subscription: Any, **fields: Any) -> requests.Response:
        return self._ask("change-plan", subscription, fields)

    def preview(self, subscription: Any, **fields: Any) -> requests.Response:
        return self._ask("change-plan/preview", subscription, fields)

    def _ask(self, what: str, subscription: Any, fields: dict[str, Any]) -> requests.Response:
        body = {
            "product_id": "pdt_team",
            "quantity": 1,
            "proration_billing_mode": "prorated_immediately",
            "addons": [],
            **fields,
        }
        return self.call("POST", f"/subscriptions/{subscription['subscription_id']}/{what}", json=body)

    def patch(self, subscription: Any, **fields: Any) -> requests.Response:
        return self.call("PATCH", f"/subscriptions/{subscription['subscription_id']}", json=fields)
