"""Checks of the running processes, and of work that was not done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cli.doctor.result import Level, Result, ok
from domain.catalog.model import Catalog
from models import account, drift_finding, generation, scheduled_job
from models.drift_finding import FindingState
from models.inbox import InboxState
from runtime.waiting import wait_until
from runtime.wiring import Runtime
from services.reports import service_health

_UNRESOLVED = (FindingState.HELD, FindingState.OPEN)
_MAX_SILENCE = 3 * scheduled_job.EVERY_HEARTBEAT
_STARTUP_SECONDS = 15.0  # within these, processes that were just started send their first heartbeat
_POLL_SECONDS = 0.5
_LATE = 1.5  # times the verification period


def check(runtime: Runtime) -> Iterator[Result]:
    """Check the heartbeats of beat and sweeper, and look for work that was not done."""
    try:
        _await_heartbeats(runtime)
        with runtime.sessions() as session:
            results = [
                _beat(session),
                _sweeper(session),
                oldest_sync(service_health.oldest_sync(session), runtime.settings.verify_every),
                *_dead(session),
                *_drift(session),
                *_replaced(session, runtime.catalog),
            ]
    except SQLAlchemyError:
        advice = "Follow the advice for the database."
        results = [
            Result(Level.WARNING, "work", "Not checked: the database is unreachable or not migrated.", advice)
        ]
    yield from results


def _await_heartbeats(runtime: Runtime) -> None:
    """Wait for the first heartbeats of processes that may just have been started."""

    def are_seen() -> bool:
        with runtime.sessions() as session:
            return all(_is_alive(session, name) for name in (scheduled_job.BEAT, scheduled_job.SWEEPER))

    wait_until(are_seen, seconds=_STARTUP_SECONDS, pause=_POLL_SECONDS)


def _is_alive(session: Session, name: str) -> bool:
    last = scheduled_job.last_claimed(session, name)
    return last is not None and account.now(session) - last <= _MAX_SILENCE


def oldest_sync(oldest: timedelta, period: timedelta) -> Result:
    """Check that every subscription was synced within the verification period, with some tolerance."""
    found = f"The subscription that was not synced for the longest time was synced {_hours(oldest)} ago"
    if oldest > period * _LATE:
        return Result(
            Level.WARNING,
            "oldest sync of a subscription",
            f"{found}; the limit is {_hours(period)}.",
            "Check that the provider responds and the workers run. If both do, the request budget is too "
            "small: raise SEATSYNC_PROVIDER_RATE with the provider's consent, or SEATSYNC_VERIFY_HOURS.",
        )
    return ok("oldest sync of a subscription", f"{found}.")


def _beat(session: Session) -> Result:
    advice = "Run one `beat` and at least one `worker`, as in the Procfile. Both need the broker."
    return _heartbeat(session, scheduled_job.BEAT, "beat and worker", advice)


def _sweeper(session: Session) -> Result:
    advice = "Run `seatsync sweeper`. Without it, nothing is retried and no deadline takes effect."
    return _heartbeat(session, scheduled_job.SWEEPER, "sweeper", advice)


def _heartbeat(session: Session, name: str, check: str, advice: str) -> Result:
    last = scheduled_job.last_claimed(session, name)
    if last is None:
        return Result(Level.FAILURE, check, "There was never a heartbeat.", advice)
    silence = account.now(session) - last
    if silence > _MAX_SILENCE:
        return Result(Level.FAILURE, check, f"The last heartbeat is {_minutes(silence)} old.", advice)
    return ok(check, f"The last heartbeat is {silence.total_seconds():.0f} s old.")


def _dead(session: Session) -> Iterator[Result]:
    health = service_health.read(session)
    yield _none_of(
        "dead letters",
        health.inbox.get(InboxState.DEAD, 0),
        "GET /v1/inbox?state=dead shows the reasons. Remove them, then POST /v1/inbox/ID/replay.",
    )
    yield _none_of(
        "dead subscriptions",
        health.subscriptions_dead,
        "Their syncs failed too often. Their dead letters show the reasons; POST /v1/accounts/ID/sync tries "
        "again.",
    )


def _drift(session: Session) -> Iterator[Result]:
    """Unresolved drift findings. Open ones are repaired by the next sync; held ones need a person."""
    counts = Counter[str]()
    for (state, _cause), count in drift_finding.count_by_cause(session, states=_UNRESOLVED).items():
        counts[state] += count
    if counts:
        level = Level.WARNING if counts[FindingState.HELD] else Level.NOTE
        found = ", ".join(f"{counts[state]} {state}" for state in _UNRESOLVED if counts[state])
        advice = "`seatsync drift` shows each finding with its likely cause and what to do."
        yield Result(level, "drift findings", found, advice)


def _none_of(what: str, number: int, advice: str) -> Result:
    return Result(Level.WARNING, what, str(number), advice) if number else ok(what, "none")


def _minutes(silence: timedelta) -> str:
    return f"{silence.total_seconds() / 60:.0f} minutes"


def _hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"


def _replaced(session: Session, catalog: Catalog) -> Iterator[Result]:
    """Report if this catalogue or release was replaced: processes with it evaluate no accounts."""
    in_force = generation.state_of(session, catalog)
    if in_force.was_replaced:
        yield Result(
            Level.FAILURE,
            "catalogue in force",
            f"Generation {in_force.newest} replaced this catalogue and release. Processes that still use "
            "them evaluate no accounts.",
            "Restart the processes with the newer ones, or run `seatsync migrate` to put these back into "
            "force.",
        )
