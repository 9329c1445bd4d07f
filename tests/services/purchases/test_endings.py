"""Ending subscriptions: shown before, sent once, true only when a sync shows it, and undone the same way."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from domain.billing_terms import When
from domain.catalog.reader import parse
from domain.errors import (
    AlreadyEnding,
    CancellationNotFound,
    ChangeInFlight,
    NoSubscription,
    NotEndableAtRenewal,
    NotUndoable,
    PreviewExpired,
    SubscriptionChanged,
)
from domain.provider_errors import ChangeRefused, TransientError
from models.cancellation import CancellationState as State
from models.seat_change import SeatChange
from runtime.settings import Settings
from runtime.wiring import Runtime
from services.ledger import links
from services.purchases import ending, refresh
from services.purchases.confirm import confirm as confirm_change
from services.purchases.preview import SeatRequest
from services.purchases.preview import preview as preview_change
from services.purchases.settle_ending import settle
from simulator.billing import lifecycle, portal
from simulator.billing.subscription import AddonUnits
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.factories import a_cause
from tests.services.purchases.endings import (
    account,
    all_of,
    cancelled,
    kinds,
    notices,
    previewed,
    purchased,
    sent_long_ago,
    synced,
    the,
    undone,
    writes,
)
from tests.services.purchases.test_seat_changes import CART, seated
from tests.services.sync.passes import drift
from tests.simulated import CATALOG, sell, sell_second_subscription
from worker.celery_app import SeatSync
from worker.sweep import Sweep

pytestmark = pytest.mark.long(seconds=20)


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Eighteen full seats and four viewers."""
    return sell(world, service, CART)


def renewed(service: Runtime, world: World, subscription_id: str) -> None:
    world.apply(subscription_id, actions.renew(world, Options()), silently=True)
    synced(service, subscription_id)


# At the renewal.


def test_a_cancellation_at_the_renewal_is_scheduled_and_takes_nothing_yet(
    service: Runtime, world: World, sold: str
):
    row = cancelled(service)
    assert (row.state, row.actor, row.ends_at) == (
        State.SCHEDULED,
        "key:test",
        world.state.get(sold).next_billing_date,
    )
    assert world.state.get(sold).cancel_at_next_billing_date
    assert (purchased(service), account(service).status) == (18, "ok")


def test_its_seats_go_when_the_subscription_has_ended(service: Runtime, world: World, sold: str):
    row = cancelled(service)
    renewed(service, world, sold)
    assert (the(service, row).state, purchased(service), account(service).status) == ("applied", 0, "ended")
    assert kinds(service) == ["scheduled", "applied"]


def test_undoing_it_keeps_the_subscription(service: Runtime, world: World, sold: str):
    row = undone(service, cancelled(service))
    assert (row.state, row.undo_actor) == (State.UNDONE, "key:test")
    renewed(service, world, sold)
    assert (world.state.get(sold).status, purchased(service)) == ("active", 18)
    assert kinds(service) == ["scheduled", "undone"]


def test_each_is_sent_once_however_often_it_is_asked_for(service: Runtime, world: World, sold: str):
    token = previewed(service).token
    rows = [ending.confirm(service, "acme", token) for _ in range(2)]
    rows += [undone(service, rows[0]) for _ in range(2)]
    assert [row.state for row in rows] == ["scheduled", "scheduled", "undone", "undone"]
    assert [one["body"] for one in writes(world)] == [
        '{"cancel_at_next_billing_date":true}',
        '{"cancel_at_next_billing_date":false}',
    ]


def test_our_own_cancellation_and_its_undo_are_no_drift(service: Runtime, sold: str):
    undone(service, cancelled(service))
    cancelled(service, When.NOW)
    assert drift(service) == []


# At once.


def test_a_cancellation_at_once_takes_the_seats_when_a_sync_shows_it(
    service: Runtime, world: World, sold: str
):
    row = cancelled(service, When.NOW)
    assert (row.state, world.state.get(sold).status) == (State.APPLIED, "cancelled")
    assert (purchased(service), account(service).status) == (0, "ended")
    assert kinds(service) == ["applied"]


def test_the_audit_names_who_ended_it(service: Runtime, sold: str):
    row = cancelled(service, When.NOW)
    with service.sessions() as session:
        found = session.execute(text("SELECT actor, source, reason FROM audit ORDER BY id DESC LIMIT 1"))
        assert tuple(found.one()) == ("key:test", "cancellation", f"cancellation {row.id}")


def test_one_that_is_scheduled_can_be_ended_at_once_and_that_is_one_notice(service: Runtime, sold: str):
    first = cancelled(service)
    second = cancelled(service, When.NOW)
    assert (the(service, first).code, the(service, second).code) == ("replaced", None)
    assert [(kind, data["cancellation_id"]) for kind, data in notices(service)] == [
        ("scheduled", first.id),
        ("applied", second.id),
    ]


def test_what_is_seen_again_is_not_notified_again(service: Runtime, world: World, sold: str):
    row = cancelled(service)
    for _ in range(2):
        synced(service, sold)
        settle(service, row.id)
    assert kinds(service) == ["scheduled"]
    renewed(service, world, sold)
    synced(service, sold)
    assert kinds(service) == ["scheduled", "applied"]


def test_a_200_of_the_provider_ends_nothing_while_it_cannot_be_read(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    token = previewed(service, When.NOW).token
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)
    cancel = service.provider.cancel

    def then_unreachable(*asked: object) -> None:
        cancel(*asked)
        world.board.turn({"api_500_probability": 1.0})

    monkeypatch.setattr(service.provider, "cancel", then_unreachable)
    row = ending.confirm(service, "acme", token)
    assert (row.state, purchased(service), kinds(service)) == (State.SUBMITTED, 18, [])
    world.board.turn({"api_500_probability": 0.0})
    with service.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET next_at = now(), attempts = 0"))
    assert settle(service, row.id).state == State.APPLIED
    assert (purchased(service), kinds(service)) == (0, ["applied"])


def test_the_sweep_wakes_a_worker_that_settles_what_was_never_answered(
    service: Runtime, settings: Settings, world: World, sold: str
):
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": ["PATCH *"]})
    row = cancelled(service)
    sent_long_ago(service)
    woken: list[str] = []
    sweep = Sweep(service, lambda _ids: None, wake_changes=lambda: woken.append("settle"))
    sweep.once()
    app = SeatSync(settings)
    app.loader.import_default_modules()
    app._runtime, app._built_in = service, os.getpid()
    app.tasks["seatsync.settle"].apply()
    sweep.once()
    assert (the(service, row).state, woken) == (State.FAILED, ["settle"])


# Made at the provider.


def by_customer(world: World, subscription_id: str) -> None:
    world.apply(subscription_id, portal.cancel_later, silently=True)


def test_a_cancellation_in_the_portal_is_found_notified_and_can_be_undone_here(
    service: Runtime, world: World, sold: str
):
    by_customer(world, sold)
    for _ in range(2):
        synced(service, sold)
    (row,) = all_of(service)
    assert (row.state, row.was_found, row.actor) == ("scheduled", True, None)
    assert undone(service, row).state == State.UNDONE
    assert [(kind, data["at_provider"]) for kind, data in notices(service)] == [
        ("scheduled", True),
        ("undone", True),
    ]


def test_a_cancellation_that_is_undone_in_the_portal_is_notified(service: Runtime, world: World, sold: str):
    row = cancelled(service)
    world.apply(sold, portal.stay, silently=True)
    synced(service, sold)
    assert (the(service, row).state, kinds(service)) == ("undone", ["scheduled", "undone"])


def test_a_cancellation_in_the_dashboard_is_notified(service: Runtime, world: World, sold: str):
    world.apply(sold, lifecycle.cancel, silently=True)
    for _ in range(2):
        synced(service, sold)
    ((kind, data),) = notices(service)
    assert (kind, data["when"], data["at_provider"]) == ("applied", "now", True)


def test_a_subscription_that_is_new_to_us_and_ends_soon_is_listed_without_a_notice(
    service: Runtime, world: World
):
    bought = world.open({"product_id": "pdt_team", "metadata": {"account_id": "acme"}}, silently=True)
    by_customer(world, bought.subscription_id)
    synced(service, bought.subscription_id)
    assert [row.state for row in all_of(service)] == ["scheduled"]
    assert kinds(service) == []


def test_a_scheduled_cancellation_goes_with_its_subscription(service: Runtime, world: World, sold: str):
    row = cancelled(service)
    with service.transaction() as session:
        links.link(session, "other", sold, service.catalog, a_cause())
    synced(service, sold)
    assert the(service, row).account_id == "other"
    with pytest.raises(CancellationNotFound):
        undone(service, row)
    assert ending.undo(service, "other", row.id).state == State.UNDONE


# What is refused.


def test_the_only_running_subscription_is_meant_and_of_two_one_has_to_be_named(
    service: Runtime, world: World, sold: str
):
    second = sell_second_subscription(world, service, sold)
    with pytest.raises(NoSubscription) as refusal:
        previewed(service)
    assert set(refusal.value.details["subscriptions"]) == {sold, second}
    cancelled(service, When.NOW, second)
    assert previewed(service).cancellation.subscription_id == sold


def test_a_subscription_of_nobody_cannot_be_cancelled(service: Runtime, sold: str):
    with pytest.raises(NoSubscription):
        previewed(service, When.NOW, "sub_nobody")


def test_what_has_ended_cannot_end_again(service: Runtime, sold: str):
    cancelled(service, When.NOW)
    with pytest.raises(NoSubscription, match="nothing to cancel"):
        previewed(service)
    with pytest.raises(AlreadyEnding, match="has ended already"):
        previewed(service, When.NOW, sold)


def test_what_is_cancelled_already_is_not_cancelled_again(service: Runtime, sold: str):
    cancelled(service)
    with pytest.raises(AlreadyEnding, match="at its next billing date already"):
        previewed(service)


@pytest.mark.parametrize("rule", [lifecycle.hold, lifecycle.pause])
def test_what_is_not_renewed_can_only_end_at_once(
    service: Runtime, world: World, sold: str, rule: Callable[..., lifecycle.Outcome]
):
    world.apply(sold, rule, silently=True)
    with pytest.raises(NotEndableAtRenewal):
        previewed(service)
    assert cancelled(service, When.NOW).state == State.APPLIED


def test_an_old_preview_is_refused(service: Runtime, world: World, sold: str):
    token = previewed(service).token
    with service.sessions.begin() as session:
        session.execute(text("UPDATE cancellations SET expires_at = now()"))
    for _ in range(2):
        with pytest.raises(PreviewExpired):
            ending.confirm(service, "acme", token)
    assert writes(world) == []


@pytest.mark.parametrize(
    "happens",
    [
        by_customer,
        lambda world, sold: world.apply(sold, lifecycle.hold, silently=True),
        lambda world, sold: world.apply(
            sold, actions.set_cart(world, Options(addons=(AddonUnits("adn_seat", 9),))), silently=True
        ),
        lambda world, sold: world.apply(sold, actions.renew(world, Options()), silently=True),
    ],
    ids=["cancelled", "on hold", "another cart", "renewed"],
)
def test_a_preview_from_before_a_change_is_refused(
    service: Runtime, world: World, sold: str, happens: Callable[[World, str], object]
):
    token = previewed(service, When.NOW).token
    happens(world, sold)
    with pytest.raises(SubscriptionChanged):
        ending.confirm(service, "acme", token)
    assert writes(world) == []


def test_a_preview_from_before_other_seats_of_the_account_went_is_refused(
    service: Runtime, world: World, sold: str
):
    second = sell_second_subscription(world, service, sold)
    token = previewed(service, When.NOW, sold).token
    world.apply(second, lifecycle.cancel, silently=True)
    synced(service, second)
    with pytest.raises(SubscriptionChanged):
        ending.confirm(service, "acme", token)


def test_nothing_is_cancelled_while_a_seat_change_is_under_way(service: Runtime, world: World, sold: str):
    token = previewed(service).token
    world.board.turn({"plan_change_payment": "waits"})
    change = confirm_change(
        service, "acme", preview_change(service, "acme", SeatRequest(seats={"full": 23})).token
    )
    with pytest.raises(ChangeInFlight) as refusal:
        ending.confirm(service, "acme", token)
    assert refusal.value.details["change_id"] == change.id
    assert writes(world) == []


def test_no_seats_are_changed_while_a_cancellation_is_under_way(service: Runtime, world: World, sold: str):
    change = preview_change(service, "acme", SeatRequest(seats={"full": 23})).token
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": ["PATCH *"]})
    row = cancelled(service)
    assert row.state == State.SUBMITTED
    with pytest.raises(ChangeInFlight) as refusal:
        confirm_change(service, "acme", change)
    assert refusal.value.details["cancellation_id"] == row.id


def test_only_what_is_scheduled_can_be_undone(service: Runtime, sold: str):
    row = cancelled(service, When.NOW)
    with pytest.raises(NotUndoable):
        undone(service, row)


def test_what_is_still_under_way_can_be_undone_later(service: Runtime, world: World, sold: str):
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": ["PATCH *"]})
    row = cancelled(service)
    with pytest.raises(ChangeInFlight) as refusal:
        undone(service, row)
    assert refusal.value.details["retry_helps"] is True


def test_an_undo_of_what_ends_meanwhile_is_refused(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    row = cancelled(service)

    def ends(_subscription_id: str) -> None:
        world.apply(sold, lifecycle.cancel, silently=True)

    monkeypatch.setattr(service.provider, "undo_cancellation", ends)
    with pytest.raises(NotUndoable, match="is applied"):
        undone(service, row)
    assert kinds(service) == ["scheduled", "applied"]


def test_a_preview_can_be_dropped(service: Runtime, sold: str):
    shown = previewed(service)
    assert undone(service, shown.cancellation).state == State.EXPIRED
    with pytest.raises(PreviewExpired):
        ending.confirm(service, "acme", shown.token)


def test_a_refusal_of_the_provider_is_its_reason_and_a_notice(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    token = previewed(service).token
    cancel = service.provider.cancel

    def too_late(*asked: object) -> None:
        world.apply(sold, lifecycle.cancel, silently=True)
        cancel(*asked)

    monkeypatch.setattr(service.provider, "cancel", too_late)
    with pytest.raises(ChangeRefused) as refusal:
        ending.confirm(service, "acme", token)
    assert refusal.value.code == "subscription_not_active"
    ((kind, data),) = notices(service)
    assert (kind, data["code"]) == ("failed", "subscription_not_active")


def test_nothing_is_sent_while_the_provider_cannot_be_read(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    token = previewed(service).token
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)
    world.board.turn({"api_500_probability": 1.0})
    with pytest.raises(TransientError):
        ending.confirm(service, "acme", token)
    assert writes(world) == []


# What is shown first.


def shown(service: Runtime, when: When = When.AT_RENEWAL) -> dict:
    return previewed(service, when).cancellation.shown


def test_the_preview_shows_the_seats_that_go_and_who_is_over_the_limit_then(service: Runtime, sold: str):
    seated(service, "ada", "bob", "eve")
    shown = previewed(service)
    full = shown.cancellation.shown["seats"]["full"]
    assert (full["before"], full["after"], full["used"], full["over"]) == (18, 0, 3, 3)
    assert full["claims_refused_from"] == shown.cancellation.ends_at.isoformat()
    assert full["suspended_at"] is None
    assert {one.holder.member_id for one in shown.leavers} == {"ada", "bob", "eve"}
    assert shown.total_over == 3


def test_the_preview_shows_what_other_subscriptions_still_give(service: Runtime, world: World, sold: str):
    seated(service, *(f"member-{number}" for number in range(7)))
    second = sell_second_subscription(world, service, sold)
    told = previewed(service, When.NOW, sold).cancellation.shown
    assert (told["seats"]["full"]["after"], told["seats"]["full"]["over"]) == (5, 2)
    assert told["remaining"] == [{"subscription_id": second, "seats": {"full": 5}}]
    assert told["status_after"] == "over_limit"


CONTRACT = """
[contracts.frame]
account = "acme"
seats = { full = 4 }
"""
SUSPENDING = CATALOG.replace(
    'policy = "strict"', 'policy = "grace"\ngrace_days = 5\nsuspend_after_grace = true'
)


def test_the_preview_shows_what_a_contract_still_gives(service: Runtime, world: World, sold: str):
    selling = replace(service, catalog=parse(CATALOG + CONTRACT, "test catalogue"))
    synced(selling, sold)
    told = shown(selling)
    assert told["remaining"] == [{"contract": "frame", "seats": {"full": 4}}]
    assert told["seats"]["full"]["after"] == 4
    assert "Seats remain from contract frame." in told["sentence"]


def test_the_preview_says_when_members_are_suspended_and_that_is_when_they_are(
    service: Runtime, world: World, sold: str
):
    selling = replace(service, catalog=parse(SUSPENDING, "test catalogue"))
    seated(selling, "ada")
    synced(selling, sold)
    told = previewed(selling, When.NOW).cancellation
    wanted = datetime.fromisoformat(told.shown["seats"]["full"]["suspended_at"])
    assert wanted == told.ends_at + timedelta(days=5)
    cancelled(selling, When.NOW)
    deadline = datetime.fromisoformat(account(selling).seats["full"]["deadline"])
    assert timedelta() <= deadline - wanted < timedelta(minutes=1)


def test_the_sentence_says_it_all(service: Runtime, world: World, sold: str):
    seated(service, "ada")
    day = world.state.get(sold).next_billing_date
    words = f"{day.day} {day:%b %Y}"
    assert shown(service)["sentence"] == (
        f"Team Pro ends on {words}; until then nothing changes. The account then has 0 full seats instead of "
        "18. The account then has 0 viewer seats instead of 4. 1 member is over the limit of full seats: "
        f"they stay, but nobody can claim such a seat from {words} on. Nothing is charged from then on, and "
        "nothing is refunded or credited."
    )


def test_a_preview_at_once_counts_the_days_that_are_given_up(service: Runtime, world: World, sold: str):
    told = shown(service, When.NOW)
    assert told["unused_days"] in range(27, 32)
    assert f"credited for the {told['unused_days']} days that are paid for" in told["sentence"]


def test_the_days_of_a_subscription_that_is_not_active_are_not_counted(
    service: Runtime, world: World, sold: str
):
    world.apply(sold, lifecycle.hold, silently=True)
    assert shown(service, When.NOW)["unused_days"] is None


def test_a_preview_changes_nothing(service: Runtime, world: World, sold: str):
    previewed(service)
    assert (writes(world), all_of(service), notices(service)) == ([], [], [])


def test_a_scheduled_change_that_will_not_be_made_is_mentioned(service: Runtime, sold: str):
    request = SeatRequest(seats={"full": 12}, when=When.AT_RENEWAL)
    confirm_change(service, "acme", preview_change(service, "acme", request).token)
    told = shown(service)
    assert told["drops_scheduled_change"]
    assert "A seat change that is scheduled for that day is not made." in told["sentence"]


def test_a_scheduled_change_that_the_cancellation_drops_is_not_said_to_have_failed(
    service: Runtime, sold: str
):
    request = SeatRequest(seats={"full": 12}, when=When.AT_RENEWAL)
    change = confirm_change(service, "acme", preview_change(service, "acme", request).token)
    cancelled(service, When.NOW)
    with service.sessions.begin() as session:
        session.execute(text("UPDATE seat_changes SET missed_at = missed_at - interval '2 minutes'"))
    synced(service, sold)
    with service.sessions() as session:
        dropped = session.get_one(SeatChange, change.id)
    assert dropped.state == "cancelled"
    assert "because the subscription ends or has ended" in dropped.message


def test_a_cancellation_whose_request_was_lost_fails_once_it_cannot_arrive_any_more(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": ["PATCH *"]})
    row = cancelled(service)
    assert settle(service, row.id).state == State.SUBMITTED
    sent_long_ago(service)
    assert settle(service, row.id).state == State.FAILED
    ((kind, data),) = notices(service)
    assert (kind, data["code"], data["retry_helps"]) == ("failed", "not_applied", True)
