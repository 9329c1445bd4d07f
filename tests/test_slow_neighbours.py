"""A provider that hangs, clients that dawdle and slow jobs slow nobody down but themselves."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from itertools import count, islice
from statistics import median
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from tests.conftest import API_KEY, SECRET
from tests.factories import CATALOG_TEXT
from tests.receiver import Receiver, hanging
from tests.servers import Databases, RedisDatabases
from tests.stack import Stack
from tests.waiting import Pace, wait_until
from webhook_app.slow_calls import MAX_WAITING_CALLS

SECONDS = float(os.environ.get("SEATSYNC_TEST_SLOW_SECONDS", "6"))
"""How long the provider hangs and slow clients stay; a minute takes a minute."""

ACCOUNTS = 10
FULL = 2 * MAX_WAITING_CALLS
HANG_SECONDS = 7.0
BARS = {"delivery": 1.5, "seats": 1.0, "healthz": 1.0}
HALF_OPEN, DRIPPING = 40, 24

pytestmark = pytest.mark.long(seconds=90)

_numbers = count()


@pytest.fixture(scope="module")
def stack(
    postgres: Databases, redis_databases: RedisDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("slow")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG_TEXT + AUTO_EXPAND, encoding="utf-8")
    with Stack(
        folder,
        database_url=postgres.create_database("slow"),
        redis_url=redis_databases.empty_database(1),
        catalog=catalog,
        SEATSYNC_NOTICES_ALLOW_PRIVATE="true",
    ) as stack:
        stack.start()
        for number in range(ACCOUNTS):
            stack.subscribe(account(number))
        stack.subscribe("buying", product_id="pdt_growing")
        for name in [*map(account, range(ACCOUNTS)), "buying"]:
            wait_until(lambda name=name: stack.purchased(name) == 5, f"{name} has its seats", stack.log)
        yield stack


AUTO_EXPAND = """
[products.pdt_growing]
included = { full = 5 }
addons.adn_seat = { full = 1 }
policy = "auto_expand"
auto_expand_limit = 1000
"""


def account(number: int) -> str:
    return f"account-{number % ACCOUNTS}"


def deliver(stack: Stack) -> requests.Response:
    """An authentic delivery that nobody has sent before."""
    message_id, now = f"msg_slow_{next(_numbers)}", datetime.now(UTC)
    body = json.dumps(
        {
            "business_id": "bus_1",
            "type": "subscription.updated",
            "timestamp": now.isoformat(),
            "data": {"payload_type": "Subscription", "subscription_id": f"sub_{message_id}"},
        }
    )
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(message_id, now, body),
    }
    return requests.post(f"{stack.url}/webhooks/dodo", data=body, headers=headers, timeout=30)


def slowest_answers(stack: Stack, until: Callable[[], bool]) -> dict[str, float]:
    """The longest that one of each call took, made again and again until then, each on a new connection."""
    calls: dict[str, tuple[Callable[[], requests.Response], int]] = {
        "delivery": (lambda: deliver(stack), 202),
        "seats": (lambda: call(stack, "GET", "/v1/accounts/account-1/seats"), 200),
        "healthz": (lambda: call(stack, "GET", "/healthz"), 200),
    }
    slowest = dict.fromkeys(calls, 0.0)
    while not until():
        for name, (make, expected) in calls.items():
            began = time.monotonic()
            assert make().status_code == expected, name
            slowest[name] = max(slowest[name], time.monotonic() - began)
    return slowest


def call(stack: Stack, method: str, path: str, body: Any = None, key: str | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {API_KEY}", **({"Idempotency-Key": key} if key else {})}
    return requests.request(method, f"{stack.url}{path}", json=body, headers=headers, timeout=60)


def timed(make: Callable[[], requests.Response]) -> tuple[requests.Response, float]:
    began = time.monotonic()
    return make(), time.monotonic() - began


def waiting_calls(stack: Stack) -> Iterator[Callable[[], requests.Response]]:
    """Every call that waits for the provider or for a purchase, in all more than there is room for."""
    for number in range(ACCOUNTS):
        path = f"/v1/accounts/{account(number)}"
        yield lambda path=path: call(stack, "POST", f"{path}/sync")
        key = f"sync-{next(_numbers)}"
        yield lambda path=path, key=key: call(stack, "POST", f"{path}/sync", key=key)
        wish = {"seats": {"full": 9}}
        yield lambda path=path, wish=wish: call(stack, "POST", f"{path}/seat-changes/preview", wish)
        cart = {"product_id": "pdt_team", "seats": {"full": 9}, "second_subscription": True}
        yield lambda path=path, cart=cart: call(stack, "POST", f"{path}/checkout", cart)
        claim = {"member_id": f"new-{next(_numbers)}", "role": "member"}
        yield lambda claim=claim: call(stack, "POST", "/v1/accounts/buying/claims", claim)


def send(callers: ThreadPoolExecutor, stack: Stack) -> Iterator[Future[tuple[requests.Response, float]]]:
    for make in waiting_calls(stack):
        yield callers.submit(timed, make)


def test_a_provider_that_hangs_delays_only_those_who_wait_for_it(stack: Stack):
    for number in range(5):
        call(stack, "POST", "/v1/accounts/buying/claims", {"member_id": f"m{number}", "role": "member"})
    stack.turn(api_hang_probability=1, api_hang_seconds=HANG_SECONDS)
    ends = time.monotonic() + SECONDS
    with ThreadPoolExecutor(100) as callers:
        waiting = list(send(callers, stack))
        time.sleep(1)  # nobody's answers are timed while as many connections are opened at once

        def keep_rooms_full() -> bool:
            places = FULL - sum(not one.done() for one in waiting)
            waiting.extend(islice(send(callers, stack), max(places, 0)))
            return time.monotonic() > ends

        with Pace() as pace:
            slowest = slowest_answers(stack, keep_rooms_full)
    stack.turn(api_hang_probability=0)
    assert {name: took for name, took in slowest.items() if took > pace.allows(BARS[name])} == {}

    answers = [one.result() for one in waiting]
    assert {answer.status_code for answer, _ in answers} <= {202, 503}
    assert all("Retry-After" in answer.headers for answer, _ in answers)
    did_not_wait = [answer for answer, took in answers if took < HANG_SECONDS / 2]
    assert len(did_not_wait) > len(answers) / 3


# Slow clients.

CLAIM = b'{"member_id": "slow", "role": "member"}'
HEADERS = (
    b"POST /v1/accounts/account-0/claims HTTP/1.1\r\nHost: seatsync\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer " + API_KEY.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(CLAIM)
)
HALVES = (HEADERS[: len(HEADERS) // 2], HEADERS + CLAIM[: len(CLAIM) // 2])
DRIPS = (HEADERS, HEADERS + CLAIM)


def drip(connection: socket.socket, request: bytes, begun: int, is_over: threading.Event) -> None:
    """Send what is left of the request byte by byte, and never its last one."""
    for position in range(begun, len(request) - 1):
        if is_over.wait(0.3):
            return
        with suppress(OSError):
            connection.sendall(request[position : position + 1])


def test_slow_clients_change_nothing_for_others(stack: Stack):
    ends, is_over = time.monotonic() + SECONDS, threading.Event()
    with ExitStack() as opened, ThreadPoolExecutor(DRIPPING) as drippers:
        opened.callback(is_over.set)
        for number in range(HALF_OPEN + DRIPPING):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", stack.port)))
            if number < HALF_OPEN:
                connection.sendall(HALVES[number % 2])
            else:
                request, begun = DRIPS[number % 2], (10, len(HEADERS) + 1)[number % 2]
                connection.sendall(request[:begun])
                drippers.submit(drip, connection, request, begun, is_over)
        with Pace() as pace:
            slowest = slowest_answers(stack, lambda: time.monotonic() > ends)
        is_over.set()
    assert {name: took for name, took in slowest.items() if took > pace.allows(1.0)} == {}


# Slow jobs of the workers.

BUYING, ENDPOINTS, CHANGES = 4, 5, 10
PREVIEW = "POST /subscriptions/<subscription_id>/change-plan/preview"


@contextmanager
def workers_busy_with_slow_jobs(stack: Stack) -> Iterator[None]:
    """Notices go to endpoints that do not answer, and seats are bought from a provider that does not.

    Both take eight seconds at a time. Retrieves are answered at once.
    """
    buying = [f"buying-{number}" for number in range(BUYING)]
    bought = [stack.subscribe(name, product_id="pdt_growing") for name in buying]
    for name in buying:
        wait_until(lambda name=name: stack.purchased(name) == 5, f"{name} has its seats", stack.log)
        people = [{"member_id": f"m{number}", "role": "member"} for number in range(5)]
        batch = {"claims": people, "mode": "all"}
        assert call(stack, "POST", f"/v1/accounts/{name}/claims/batch", batch).status_code == 200
    stack.turn(api_fault_routes=[PREVIEW], api_hang_probability=1, api_hang_seconds=8.0)
    with Receiver(answers=[hanging(8.0)] * 1000) as app, ThreadPoolExecutor(BUYING) as callers:
        endpoints = [add_endpoint(stack, f"{app.url}/{number}") for number in range(ENDPOINTS)]
        claim = {"member_id": "one-more", "role": "member"}
        claimed = callers.map(
            lambda name: call(stack, "POST", f"/v1/accounts/{name}/claims", claim).status_code, buying
        )
        assert set(claimed) == {202}
        asked = previews(stack)
        wait_until(lambda: previews(stack) > asked, "a worker tries to buy", stack.log, seconds=30)
        stack.buy(bought[0], 1)
        wait_until(lambda: app.arrived, "a notice is sent", stack.log, seconds=30)
        try:
            yield
        finally:
            stack.turn(api_hang_probability=0)
            for endpoint in endpoints:
                call(stack, "DELETE", f"/v1/notice-endpoints/{endpoint}")


def add_endpoint(stack: Stack, url: str) -> str:
    body = {"url": url, "types": ["seat.count_changed"]}
    return call(stack, "POST", "/v1/notice-endpoints", body).json()["endpoint_id"]


def previews(stack: Stack) -> int:
    return stack.control("GET", "/requests?limit=0")["routes"].get(PREVIEW, 0)


def waits_for_changes(stack: Stack, bought: Mapping[str, str], seats: int) -> Sequence[float]:
    """Seconds until each account showed the seats that were bought for it, one after the other."""
    waits = []
    for name, subscription_id in bought.items():
        stack.buy(subscription_id, seats)
        waits.append(
            wait_until(lambda name=name: stack.purchased(name) == 5 + seats, f"{name} has them", stack.log)
        )
        time.sleep(0.5)  # spreads the changes over several of the slow jobs
    return waits


def test_while_the_workers_are_busy_with_slow_jobs_a_webhooks_count_is_readable_as_fast_as_without(
    stack: Stack,
):
    bought = {f"changing-{number}": stack.subscribe(f"changing-{number}") for number in range(CHANGES)}
    for name in bought:
        wait_until(lambda name=name: stack.purchased(name) == 5, f"{name} has its seats", stack.log)
    without = median(waits_for_changes(stack, bought, 1))
    with workers_busy_with_slow_jobs(stack):
        busy = median(waits_for_changes(stack, bought, 2))
    assert busy < 3 * without + 0.5
