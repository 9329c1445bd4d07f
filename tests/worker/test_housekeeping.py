"""Housekeeping deletes old previews, and keeps every change that was sent."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from models import account, seat_change
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.ledger import links
from tests.factories import a_cause
from worker.housekeeping import housekeep, housekeep_if_due

SENT = sorted(set(ChangeState) - {ChangeState.PREVIEWED, ChangeState.EXPIRED})
NEVER_SENT = [ChangeState.PREVIEWED, ChangeState.EXPIRED]


@pytest.fixture
def acme(runtime: Runtime) -> Runtime:
    """An account with a subscription."""
    with runtime.transaction() as session:
        links.link(session, "acme", "sub_1", runtime.catalog, a_cause())
    return runtime


def a_change(runtime: Runtime, state: ChangeState, *, days: float) -> None:
    """One that was previewed so many days ago and is in this state now."""
    change = SeatChange(
        account_id="acme", subscription_id="sub_1", plan={}, basis="", seats={}, shown={}, release=[]
    )
    with runtime.sessions.begin() as session:
        seat_change.add_preview(session, change)
        change.created_at = account.now(session) - timedelta(days=days)
        change.state = state.value
        change.sent_at = None if state in NEVER_SENT else change.created_at


def kept(runtime: Runtime) -> list[str]:
    housekeep(runtime)
    with runtime.sessions() as session:
        return [change.state for change in session.query(SeatChange)]


@pytest.mark.parametrize("state", NEVER_SENT)
def test_a_preview_that_nobody_confirmed_is_forgotten_after_two_days(acme: Runtime, state: ChangeState):
    a_change(acme, state, days=2.1)
    assert kept(acme) == []


@pytest.mark.parametrize("state", NEVER_SENT)
def test_a_preview_of_yesterday_is_kept(acme: Runtime, state: ChangeState):
    a_change(acme, state, days=1.9)
    assert kept(acme) == [state]


@pytest.mark.parametrize("state", SENT)
def test_a_change_that_was_sent_is_kept_for_ever(acme: Runtime, state: ChangeState):
    a_change(acme, state, days=4000)
    assert kept(acme) == [state]


def test_however_often_beat_starts_the_work_is_done_once_an_hour(runtime: Runtime):
    with runtime.sessions.begin() as session:
        session.execute(
            text("INSERT INTO ticks (name, slot, taken_at) VALUES ('old', 1, now() - interval '1 year')")
        )
    assert housekeep_if_due(runtime) == 1
    with runtime.sessions.begin() as session:
        session.execute(
            text("INSERT INTO ticks (name, slot, taken_at) VALUES ('old', 1, now() - interval '1 year')")
        )
    assert housekeep_if_due(runtime) == 0
