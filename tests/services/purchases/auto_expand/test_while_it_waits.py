"""Pending claims: which comes first, which expire, and what cannot be done with them."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from domain.errors import WrongState
from models import assignment
from models.account_rules import Override
from runtime.wiring import Runtime
from services.ledger import accounts, claims, members
from services.ledger.members import MemberUpdate
from services.purchases import auto_expand
from services.sync.on_demand import sync_subscription
from simulator.world import World
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.factories import a_cause
from tests.services.purchases.auto_expand.setup_helpers import OF_FIVE, claim, people, reason, settles
from tests.simulated import applied_writes


def test_a_freed_seat_goes_to_a_pending_claim_and_nothing_is_bought(
    service: Runtime, world: World, sold: str
):
    claim(service, "eve", "fay")
    with service.transaction() as session:
        claims.release(session, "acme", OF_FIVE[0], a_cause())
        claims.release(session, "acme", "fay", a_cause())
    auto_expand.expand(service, "acme")
    assert people(service) == {"eve": "active", "fay": "released"}
    assert applied_writes(world) == 0


def test_pending_claims_come_before_later_ones(service: Runtime, world: World, sold: str):
    claim(service, "eve", "fay")
    with service.transaction() as session:
        claims.release(session, "acme", OF_FIVE[0], a_cause())
    claim(service, "gil")
    with service.transaction() as session:
        accounts.reevaluate(session, "acme", service.catalog, a_cause())
    assert people(service) == {"eve": "active", "fay": "waiting", "gil": "waiting"}


def test_a_policy_that_buys_no_seats_releases_pending_claims(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    with service.transaction() as session:
        accounts.set_policy(session, "acme", Override(policy="strict"), service.catalog, a_cause())
    assert people(service) == {"eve": "released"}
    assert reason(service, "eve") == "The account's policy no longer buys seats automatically."
    auto_expand.expand(service, "acme")
    assert applied_writes(world) == 0


def test_a_pending_claim_expires_after_some_days(service: Runtime, sold: str):
    claim(service, "eve")
    with service.sessions.begin() as session:
        session.execute(text("UPDATE assignments SET expires_at = now() WHERE awaits IS NOT NULL"))
    with service.transaction() as session:
        accounts.reevaluate(session, "acme", service.catalog, a_cause())
    assert people(service) == {"eve": "released"}
    assert reason(service, "eve") == "No seat could be bought in time."


@pytest.mark.parametrize(
    "wanted", [MemberUpdate(role="guest"), MemberUpdate(state=assignment.AssignmentState.ACTIVE)]
)
def test_a_pending_claim_can_be_neither_moved_nor_confirmed(
    service: Runtime, sold: str, wanted: MemberUpdate
):
    claim(service, "eve")
    with service.transaction() as session, pytest.raises(WrongState, match="is still being bought"):
        members.update_member(session, "acme", "eve", wanted, catalog=service.catalog, cause=a_cause())


def test_the_audit_has_every_step(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve", "fay", "gil")
    auto_expand.expand(service, "acme")
    with service.transaction() as session:
        claims.release(session, "acme", "gil", a_cause())
    settles(world, sold, "succeeds")
    sync_subscription(service, sold, patience=5)
    with service.sessions() as session:
        assert_audit_matches_the_tables(session)
        assert_balances_count_the_assignments(session)
    assert people(service) == {"eve": "active", "fay": "active", "gil": "released"}
