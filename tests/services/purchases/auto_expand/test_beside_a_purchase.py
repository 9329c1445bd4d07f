"""A purchase under way, while seats come from elsewhere, claims come and go, and calls fail."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select, text

from models.account_rules import Override
from models.purchase_queue import QueuedPurchase
from runtime.wiring import Runtime
from services.ledger import accounts, claims
from services.purchases import auto_expand
from services.sync.on_demand import sync_subscription
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.factories import a_cause
from tests.services.purchases.auto_expand.setup_helpers import (
    OF_FIVE,
    claim,
    come_again,
    customer_buys,
    long_ago,
    people,
    reason,
    sent,
    settle,
    settles,
    status,
    with_catalog,
)
from tests.simulated import CHANGES, applied_writes, units


def test_seats_that_came_from_elsewhere_are_never_given_back_by_a_purchase(
    service: Runtime, world: World, sold: str
):
    claim(service, "eve")
    customer_buys(world, sold, adn_seat=5)
    auto_expand.expand(service, "acme")
    assert (people(service), applied_writes(world)) == ({"eve": "active"}, 0)
    assert units(world, sold)["adn_seat"] == 5


@pytest.mark.parametrize("leaver", ["eve", OF_FIVE[0]])
def test_no_seat_is_bought_for_claims_that_ended_meanwhile(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch, leaver: str
):
    """The last moment to find out is the transaction that sends the purchase."""
    claim(service, "eve")
    ask = auto_expand.preview

    def leaves_after_the_preview(*asked: Any) -> Any:
        previewed = ask(*asked)
        with service.transaction() as session:
            claims.release(session, "acme", leaver, a_cause())
        return previewed

    monkeypatch.setattr(auto_expand, "preview", leaves_after_the_preview)
    auto_expand.expand(service, "acme")
    assert applied_writes(world) == 0


def test_a_reduction_beside_a_claim_is_not_undone_by_the_purchase(service: Runtime, world: World, sold: str):
    customer_buys(world, sold, adn_seat=1)
    sync_subscription(service, sold, patience=5)
    claim(service, "fay")
    claim(service, "eve")
    customer_buys(world, sold)
    auto_expand.expand(service, "acme")
    assert (people(service), applied_writes(world)) == ({"fay": "active", "eve": "released"}, 0)
    assert "6 members on 5 full seats" in reason(service, "eve")


def test_a_claim_from_after_the_purchase_is_not_refused_with_it(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "fails"})
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    claim(service, "fay")
    long_ago(service)
    settle(service)
    come_again(service)
    assert people(service) == {"eve": "released", "fay": "waiting"}


def test_claims_that_remain_after_a_purchase_are_bought_for_at_once(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    claim(service, "fay")
    auto_expand.expand(service, "acme")
    world.board.turn({"plan_change_payment": "succeeds"})
    settles(world, sold, "succeeds")
    sync_subscription(service, sold, patience=5)
    auto_expand.expand_due(service, until=time.monotonic() + 60)
    assert people(service) == {"eve": "active", "fay": "active"}


def test_a_purchase_without_a_response_is_retried_for_the_same_claims(
    service: Runtime, world: World, sold: str
):
    """As where the process dies between writing down that it sends and sending."""
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": [CHANGES]})
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    world.board.turn({"api_cut_before_probability": 0.0})
    long_ago(service)
    settle(service)
    come_again(service)
    assert (people(service), applied_writes(world)) == ({"eve": "active"}, 1)


def test_a_temporary_refusal_is_retried_with_growing_pauses(service: Runtime, world: World, sold: str):
    world.board.turn({"api_429_probability": 1.0, "api_fault_routes": [CHANGES]})
    claim(service, "eve")
    for _ in range(3):
        come_again(service)
    with service.sessions() as session:
        assert session.scalar(select(QueuedPurchase.attempts)) == 3
    assert people(service) == {"eve": "waiting"}


@pytest.mark.parametrize("status", ["cancelled", "paused"])
def test_a_suspended_account_releases_its_pending_claims(
    service: Runtime, world: World, sold: str, status: str
):
    claim(service, "eve")
    world.apply(sold, actions.set_status(world, Options(status=status)), silently=True)
    sync_subscription(service, sold, patience=5)
    with service.transaction() as session:
        claims.release(session, "acme", OF_FIVE[0], a_cause())
        accounts.reevaluate(session, "acme", service.catalog, a_cause())
    assert people(service) == {"eve": "released"}


def test_a_policy_that_grants_without_seats_grants_pending_claims(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    with service.transaction() as session:
        accounts.set_policy(session, "acme", Override(policy="soft"), service.catalog, a_cause())
    assert people(service) == {"eve": "active"}


def test_a_pending_claim_whose_role_becomes_free_is_granted(service: Runtime, sold: str):
    claim(service, "eve")
    freed = with_catalog(service, {'member = "full"': 'member = "free"'})
    with freed.transaction() as session:
        accounts.reevaluate(session, "acme", freed.catalog, a_cause())
    assert people(freed) == {"eve": "active"}


def test_a_pending_invitation_confirmed_by_address_belongs_to_the_member(service: Runtime, sold: str):
    claim(service, "invited", hold=True, email="eve@example.com")
    claim(service, "eve", email="eve@example.com")
    auto_expand.expand(service, "acme")
    assert people(service) == {"eve": "active"}


def test_pending_claims_start_no_deadline(service: Runtime, sold: str):
    claim(service, "eve")
    with service.transaction() as session:
        accounts.set_policy(session, "acme", Override(policy="grace"), service.catalog, a_cause())
    assert (people(service), status(service)) == ({"eve": "active"}, "grace")
    with service.sessions() as session:
        assert_audit_matches_the_tables(session)
        assert_balances_count_the_assignments(session)


def test_a_purchase_over_midnight_counts_once(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, *(f"new-{number}" for number in range(10)))
    auto_expand.expand(service, "acme")
    long_ago(service, "1 day")
    claim(service, "eve")
    assert people(service)["eve"] == "waiting"


def test_a_card_is_not_charged_for_days_if_responses_never_arrive(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "fails"})
    world.board.turn({"api_cut_probability": 1.0, "api_fault_routes": [CHANGES]})
    claim(service, "eve")
    for _ in range(3):
        come_again(service)
        long_ago(service)
        settle(service)
    come_again(service)
    assert people(service) == {"eve": "released"}
    assert sent(world) == 2


def test_a_stream_of_new_claims_delays_no_purchase(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    claim(service, "eve")
    ask, names = auto_expand.preview, iter(["fay", "gil"])

    def somebody_comes_after_the_preview(*asked: Any) -> Any:
        previewed = ask(*asked)
        claim(service, next(names, "eve"))
        return previewed

    monkeypatch.setattr(auto_expand, "preview", somebody_comes_after_the_preview)
    auto_expand.expand(service, "acme")
    assert people(service)["eve"] == "active"


def test_an_obstacle_for_one_seat_type_does_not_stop_the_others(service: Runtime, world: World, sold: str):
    packs_only = with_catalog(
        service,
        {"addons.adn_seat = { full = 1 }\n": "", "\n[roles]": "auto_expand_limit = 5\n[roles]"},
    )
    claim(packs_only, "vic", "val", "vera", role="guest")
    claim(packs_only, "eve")
    auto_expand.expand(packs_only, "acme")
    assert people(packs_only) == {"vic": "active", "val": "active", "vera": "active", "eve": "released"}


def test_no_claim_expires_while_its_seat_is_being_paid(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    with service.sessions.begin() as session:
        session.execute(text("UPDATE assignments SET expires_at = now() WHERE awaits IS NOT NULL"))
    come_again(service)
    assert people(service) == {"eve": "waiting"}
    settles(world, sold, "succeeds")
    sync_subscription(service, sold, patience=5)
    assert people(service) == {"eve": "active"}
