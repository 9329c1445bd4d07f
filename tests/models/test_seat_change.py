"""Seat changes: those whose outcome a sync may show."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.catalog.model import Catalog
from models import account, seat_change, sync_queue
from models.account import now
from models.database import Sessions
from models.seat_change import ChangeState, SeatChange


def sent(sessions: Sessions, number: int, state: ChangeState, code: str | None = None) -> str:
    """A change, sent as the nth of its subscription."""
    with sessions.begin() as session:
        change = SeatChange(
            account_id="acme", subscription_id="sub_1", plan={}, basis="", seats={}, shown={}, release=[]
        )
        seat_change.add_preview(session, change)
        seat_change.set_state(session, change, ChangeState.SUBMITTED)
        seat_change.set_state(session, change, state, code=code)
        change.sent_at = now(session) + timedelta(seconds=number)
        return change.id


@pytest.fixture
def known(sessions: Sessions, catalog: Catalog) -> Sessions:
    with sessions.begin() as session:
        account.insert_if_absent(session, "acme", catalog.defaults)
        sync_queue.raise_hint(session, "sub_1")
    return sessions


@pytest.mark.parametrize("later", [1, 9, 10, 30])
def test_a_scheduled_change_is_matched_however_many_were_sent_after_it(known: Sessions, later: int):
    still_open = sent(known, 0, ChangeState.SCHEDULED)
    for number in range(1, later + 1):
        sent(known, number, ChangeState.APPLIED)
    with known() as session:
        assert [one.id for one in seat_change.sent_changes(session, "sub_1")] == [still_open]


def test_of_changes_taken_for_failed_only_the_newest_that_was_sent_is_matched(known: Sessions):
    sent(known, 1, ChangeState.FAILED, seat_change.NOT_APPLIED)
    newest = sent(known, 2, ChangeState.FAILED, seat_change.NOT_APPLIED)
    with known() as session:
        assert [one.id for one in seat_change.sent_changes(session, "sub_1")] == [newest]
    sent(known, 3, ChangeState.APPLIED)
    with known() as session:
        assert seat_change.sent_changes(session, "sub_1") == []
