"""Housekeeping deletes old previews, and keeps every change that was sent."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from models import account, reconcile_pass, seat_change
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.ledger import links
from tests.factories import a_cause
from worker import housekeeping
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


def with_old_responses(runtime: Runtime, number: int) -> Runtime:
    with runtime.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO idempotency_keys (scope, key, request_hash, created_at)"
                " SELECT 'scope', n, '', now() - interval '2 days' FROM generate_series(1, :number) AS n"
            ),
            {"number": number},
        )
    return runtime


def test_old_rows_are_deleted_in_slices_until_none_is_left(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(housekeeping, "_SLICE", 2)
    assert housekeep(with_old_responses(runtime, 5)) == 5


def test_what_a_run_has_no_time_for_is_left_to_the_next(runtime: Runtime):
    with_old_responses(runtime, 5)
    assert (housekeep(runtime, until=0), housekeep(runtime)) == (0, 5)


def test_a_deletion_that_fails_stops_no_other(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    with_old_responses(runtime, 5)
    monkeypatch.setattr(
        reconcile_pass, "delete_old", lambda session, _age: session.execute(text("DELETE FROM no_such_table"))
    )
    with pytest.raises(ProgrammingError):
        housekeep(runtime)
    with runtime.sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM idempotency_keys")) == 0
