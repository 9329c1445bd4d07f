"""Seats bought over HTTP from real processes: they arrive, once, whoever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests

from tests.servers import Databases, RedisDatabases
from tests.simulated import CATALOG, CHANGES
from tests.stack import Stack
from tests.waiting import wait_until

pytestmark = pytest.mark.long(seconds=25)


@pytest.fixture(scope="module")
def stack(
    postgres: Databases, redis_databases: RedisDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("buying")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG, encoding="utf-8")
    with Stack(
        folder,
        database_url=postgres.create_database("buying"),
        redis_url=redis_databases.empty_database(2),
        catalog=catalog,
    ) as stack:
        stack.start()
        yield stack


@pytest.fixture
def account(stack: Stack, request: pytest.FixtureRequest) -> str:
    """A new one with eight seats; from now on neither a webhook nor the provider's list tells anything."""
    name = request.node.name
    stack.turn(drop_probability=0.0, plan_change_payment="succeeds", api_latency_seconds=0.0)
    stack.turn(api_fault_routes=["GET /subscriptions"], api_500_probability=1.0)
    stack.subscribe(name, seats=3)
    wait_until(lambda: stack.purchased(name) == 8, "the purchase is seen", stack.log)
    stack.turn(drop_probability=1.0)
    stack.control("DELETE", "/requests")
    return name


def post(stack: Stack, account: str, path: str, body: dict[str, Any]) -> requests.Response:
    url = f"{stack.url}/v1/accounts/{account}/seat-changes{path}"
    return requests.post(url, json=body, headers=dict(stack.http.headers), timeout=20)


def previewed(stack: Stack, account: str, seats: int) -> dict[str, Any]:
    answer = post(stack, account, "/preview", {"seats": {"full": seats}})
    assert answer.ok, answer.text
    return answer.json()


def writes(stack: Stack) -> list[bool]:
    """Each change that the provider was asked for: whether it was made."""
    return [
        one["is_applied"] for one in stack.control("GET", "/requests")["writes"] if one["route"] == CHANGES
    ]


def read(stack: Stack, account: str, change: dict[str, Any]) -> str:
    return stack.get(f"/v1/accounts/{account}/seat-changes/{change['change_id']}").json()["state"]


def is_back(stack: Stack) -> bool:
    """Whether the web process answers."""
    with suppress(requests.RequestException):
        return stack.get("/healthz").ok
    return False


def test_seats_are_there_with_the_answer(stack: Stack, account: str):
    answer = post(stack, account, "", {"token": previewed(stack, account, 12)["token"]})
    assert (answer.status_code, answer.json()["state"]) == (200, "applied")
    assert (stack.purchased(account), writes(stack)) == (12, [True])


def test_a_payment_that_takes_its_time_is_found_by_the_worker(stack: Stack, account: str):
    stack.turn(plan_change_payment="waits")
    change = previewed(stack, account, 12)
    assert post(stack, account, "", {"token": change["token"]}).status_code == 202
    stack.control(
        "POST", f"/subscriptions/{change['subscription_id']}/settle-plan-change", {"payment": "succeeds"}
    )
    wait_until(lambda: stack.purchased(account) == 12, "the seats arrive", stack.log)
    assert (read(stack, account, change), writes(stack)) == ("applied", [True])


def test_a_web_process_killed_between_the_write_and_its_answer_buys_once(stack: Stack, account: str):
    change = previewed(stack, account, 12)
    stack.turn(api_latency_seconds=4.0, api_fault_routes=[CHANGES], api_500_probability=0.0)
    with ThreadPoolExecutor(1) as pool:
        pressed = pool.submit(post, stack, account, "", {"token": change["token"]})
        wait_until(lambda: writes(stack) == [True], "the provider has made the change", stack.log)
        stack.kill_children("web")
        assert isinstance(pressed.exception(), requests.ConnectionError)
    wait_until(lambda: is_back(stack), "somebody answers again", stack.log)
    wait_until(lambda: stack.purchased(account) == 12, "the seats arrive", stack.log)
    wait_until(lambda: read(stack, account, change) == "applied", "it is known to be applied", stack.log)
    again = post(stack, account, "", {"token": change["token"]})
    assert (again.status_code, again.json()["state"], writes(stack)) == (200, "applied", [True])
