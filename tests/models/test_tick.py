"""Ticks: one run per slot, however many schedulers ring."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from models import tick
from models.session import Sessions

HOUR = timedelta(hours=1)


def take(sessions: Sessions, name: str = "reconcile") -> bool:
    with sessions.begin() as session:
        return tick.take(session, name, HOUR)


def test_the_first_of_two_schedulers_gets_the_tick(sessions: Sessions):
    assert (take(sessions), take(sessions)) == (True, False)


def test_another_job_has_ticks_of_its_own(sessions: Sessions):
    take(sessions)
    assert take(sessions, "housekeep")


def test_the_next_slot_is_free_again(sessions: Sessions):
    take(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE ticks SET slot = slot - 1"))
    assert take(sessions)


def test_a_tick_whose_work_failed_can_be_taken_again(sessions: Sessions):
    with sessions() as session:
        assert tick.take(session, "reconcile", HOUR)
        session.rollback()
    assert take(sessions)
