"""From a signed webhook over real HTTP to the right seats document, for every event type and status."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.snapshot import SubscriptionStatus
from tests.factories import CATALOG_TEXT
from tests.receiver import Receiver
from tests.servers import Databases, RedisDatabases
from tests.stack import Stack
from tests.waiting import wait_until

pytestmark = pytest.mark.long(seconds=20)

EVENTS = (
    "active",
    "renewed",
    "plan_changed",
    "updated",
    "on_hold",
    "past_due",
    "paused",
    "unpaused",
    "cancelled",
    "failed",
    "expired",
    "update_payment_method",
)

# By the status of a subscription with 5 included and 10 extra seats: the status and seats of the account.
SHOWN = {
    SubscriptionStatus.PENDING: ("ok", 0),
    SubscriptionStatus.ACTIVE: ("ok", 15),
    SubscriptionStatus.PAST_DUE: ("grace", 15),
    SubscriptionStatus.ON_HOLD: ("grace", 15),
    SubscriptionStatus.PAUSED: ("suspended", 15),
    SubscriptionStatus.CANCELLED: ("ended", 0),
    SubscriptionStatus.FAILED: ("ended", 0),
    SubscriptionStatus.EXPIRED: ("ended", 0),
}


@pytest.fixture(scope="module")
def stack(
    postgres: Databases, redis_databases: RedisDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("flow")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG_TEXT, encoding="utf-8")
    database_url = postgres.create_database("flow")
    redis_url = redis_databases.empty_database(1)
    with Stack(
        folder,
        database_url=database_url,
        redis_url=redis_url,
        catalog=catalog,
        SEATSYNC_NOTICES_ALLOW_PRIVATE="true",
    ) as stack:
        stack.start()
        yield stack


@pytest.fixture(scope="module")
def subscriptions_with_events(stack: Stack) -> dict[str, str]:
    """For each status and event type, a subscription for which that event was sent; the ids by account id."""
    subscription_ids = {}
    for status in SHOWN:
        for event in EVENTS:
            account_id = f"{status}-{event}"
            subscription_ids[account_id] = stack.subscribe(account_id, seats=10, status=status, silently=True)
            emission = {"type": f"subscription.{event}", "subscription_id": subscription_ids[account_id]}
            stack.control("POST", "/emit", emission)
    return subscription_ids


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("status", SHOWN)
def test_the_state_decides_whatever_the_event_is_called(
    stack: Stack, subscriptions_with_events: dict[str, str], status: SubscriptionStatus, event: str
):
    account_id = f"{status}-{event}"
    wait_until(lambda: stack.get(f"/v1/accounts/{account_id}/seats").ok, "the account is known", stack.log)
    document = stack.seats(account_id)
    shown = document["status"], document["seats"]["full"]["purchased"]
    (subscription,) = document["subscriptions"]
    assert shown == SHOWN[status]
    assert subscription["subscription_id"] == subscriptions_with_events[account_id]
    assert subscription["status"] == status
    assert not document["stale"]


def deadline(document: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(document["deadline"])


def test_past_due_lasts_until_the_providers_own_deadline(stack: Stack):
    subscription_id = stack.subscribe("late payer")
    wait_until(lambda: stack.purchased("late payer") == 5, "the purchase is seen", stack.log)
    stack.control("POST", f"/subscriptions/{subscription_id}/past-due", {"grace_seconds": 3 * 86_400})
    wait_until(lambda: stack.seats("late payer")["status"] == "grace", "grace begins", stack.log)
    left = deadline(stack.seats("late payer")) - datetime.now(UTC)
    assert timedelta(days=2.9) < left < timedelta(days=3.1)


def test_on_hold_lasts_for_the_catalogues_payment_grace(stack: Stack):
    subscription_id = stack.subscribe("held up")
    wait_until(lambda: stack.purchased("held up") == 5, "the purchase is seen", stack.log)
    stack.control("POST", f"/subscriptions/{subscription_id}/hold")
    wait_until(lambda: stack.seats("held up")["status"] == "grace", "grace begins", stack.log)
    left = deadline(stack.seats("held up")) - datetime.now(UTC)
    assert timedelta(days=6.9) < left < timedelta(days=7.1)


def test_a_cancellation_at_period_end_keeps_the_seats_until_then(stack: Stack):
    subscription_id = stack.subscribe("leaving later", seats=10)
    wait_until(lambda: stack.purchased("leaving later") == 15, "the purchase is seen", stack.log)
    stack.control("POST", f"/subscriptions/{subscription_id}/cancel-at-period-end")

    def is_flagged() -> bool:
        return stack.seats("leaving later")["subscriptions"][0]["cancel_at_next_billing_date"]

    wait_until(is_flagged, "the flag is seen", stack.log)
    assert stack.purchased("leaving later") == 15


def test_recovery_brings_the_seats_back(stack: Stack):
    subscription_id = stack.subscribe("back again", seats=3)
    wait_until(lambda: stack.purchased("back again") == 8, "the purchase is seen", stack.log)
    for action, status in (("pause", "suspended"), ("unpause", "ok")):
        stack.control("POST", f"/subscriptions/{subscription_id}/{action}")
        wait_until(lambda wanted=status: stack.seats("back again")["status"] == wanted, status, stack.log)
    assert stack.purchased("back again") == 8


def test_two_subscriptions_of_one_account_add_up(stack: Stack):
    for seats in (1, 2):
        stack.subscribe("twice", seats=seats, customer={"customer_id": "cus_twice"})
    wait_until(lambda: stack.purchased("twice") == 13, "both purchases are seen", stack.log)


def test_a_subscription_that_names_no_account_gets_one_of_its_own(stack: Stack):
    subscription_id = stack.subscribe("", metadata={})
    wait_until(lambda: stack.purchased(subscription_id) == 5, "its own account shows it", stack.log)


def test_the_apps_link_wins_over_the_metadata(stack: Stack):
    subscription_id = stack.subscribe("as bought")
    wait_until(lambda: stack.purchased("as bought") == 5, "the purchase is seen", stack.log)
    linked = stack.http.put(f"{stack.url}/v1/accounts/as-linked/subscriptions/{subscription_id}", timeout=10)
    assert linked.ok
    wait_until(lambda: stack.purchased("as-linked") == 5, "the seats have moved", stack.log)
    stack.buy(subscription_id, 2)
    wait_until(lambda: stack.purchased("as-linked") == 7, "later purchases go there too", stack.log)
    assert stack.purchased("as bought") == 0


def test_the_app_gets_a_verifiable_notice_of_a_purchase(stack: Stack):
    with Receiver() as app:
        secret = stack.http.post(
            f"{stack.url}/v1/notice-endpoints",
            json={"url": app.url, "types": ["seat.count_changed"]},
            timeout=10,
        ).json()["secret"]
        subscription_id = stack.subscribe("with an endpoint")
        wait_until(lambda: stack.purchased("with an endpoint") == 5, "the purchase is seen", stack.log)
        stack.buy(subscription_id, 4)
        wait_until(lambda: app.arrived, "the notice comes", stack.log)
        notice = app.arrived[0].verified(secret)
        changed = notice["data"]
    assert notice["type"] == "seat.count_changed"
    assert (changed["account_id"], changed["purchased_before"], changed["purchased"]) == (
        "with an endpoint",
        5,
        9,
    )


def test_sync_with_billing_now_finds_a_change_without_a_webhook(stack: Stack):
    subscription_id = stack.subscribe("without webhook")
    wait_until(lambda: stack.purchased("without webhook") == 5, "the purchase is seen", stack.log)
    stack.buy(subscription_id, 2, silently=True)
    response = stack.http.post(f"{stack.url}/v1/accounts/without webhook/sync", timeout=15)
    assert (response.status_code, response.json()["changed"]) == (200, True)
    assert stack.purchased("without webhook") == 7


def test_bursts_cost_few_retrieves(stack: Stack):
    """A thousand events for a hundred subscriptions, ten to each at once."""
    ids = [stack.subscribe(f"burst-{number}", silently=True) for number in range(100)]
    before = stack.retrieves()
    stack.turn(webhooks_enabled=True)
    for subscription_id in ids:
        for _ in range(10):
            emission = {"type": "subscription.updated", "subscription_id": subscription_id}
            stack.control("POST", "/emit", emission)
    wait_until(lambda: stack.purchased("burst-99") == 5, "the last is seen", stack.log)
    wait_until(_no_sync_is_pending(stack), "no sync is pending", stack.log)
    assert stack.retrieves() - before <= 250


def _no_sync_is_pending(stack: Stack):
    def check() -> bool:
        return "seatsync_subscriptions_waiting 0.0" in stack.get("/metrics").text

    return check


def test_every_delivery_was_answered_2xx(stack: Stack):
    attempts = [attempt for message in stack.deliveries() for attempt in message["attempts"]]
    assert attempts
    assert {attempt["status"] for attempt in attempts} <= {200, 202}
