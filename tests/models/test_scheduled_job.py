"""Scheduled jobs: one run per period, however many schedulers trigger it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from models import account, scheduled_job
from models.database import Sessions

HOUR = timedelta(hours=1)


def take(sessions: Sessions, name: str = "reconcile") -> bool:
    with sessions.begin() as session:
        return scheduled_job.start_if_due(session, name, HOUR)


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
        assert scheduled_job.start_if_due(session, "reconcile", HOUR)
        session.rollback()
    assert take(sessions)


def test_the_last_tick_tells_when_its_job_was_alive(sessions: Sessions):
    take(sessions, scheduled_job.BEAT)
    with sessions.begin() as session:
        session.execute(text("UPDATE ticks SET slot = slot - 1, taken_at = taken_at - interval '1 hour'"))
    take(sessions, scheduled_job.BEAT)
    with sessions() as session:
        taken = scheduled_job.last_claimed(session, scheduled_job.BEAT)
        assert account.now(session) - taken < timedelta(minutes=1)


def test_a_job_that_never_ran_has_no_last_tick(sessions: Sessions):
    take(sessions, scheduled_job.BEAT)
    with sessions() as session:
        assert scheduled_job.last_claimed(session, scheduled_job.SWEEPER) is None
