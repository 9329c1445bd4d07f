"""The work: who should be at it, and what was left undone."""

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

_STANDING = (FindingState.HELD, FindingState.OPEN)
_SILENT = 3 * scheduled_job.EVERY_HEARTBEAT
_FIRST_SIGN = 15.0  # seconds; a service that was started a moment ago shows that it is at work within these
_POLL = 0.5  # seconds
_LATE = 1.5  # times the period within which each subscription is looked at


def check(runtime: Runtime) -> Iterator[Result]:
    """The heartbeats of beat and sweeper, and the rows that somebody should have dealt with."""
    try:
        _await_first_signs(runtime)
        with runtime.sessions() as session:
            found = [
                _beat(session),
                _sweeper(session),
                looks(service_health.oldest_sync(session), runtime.settings.verify_every),
                *_given_up(session),
                *_standing(session),
                *_replaced(session, runtime.catalog),
            ]
    except SQLAlchemyError:
        advice = "See what is said of the database."
        found = [
            Result(Level.WARNING, "work", "Not looked at: the database is away, or is not migrated.", advice)
        ]
    yield from found


def _await_first_signs(runtime: Runtime) -> None:
    """Give processes that may have been started a moment ago the time to show that they are at work."""

    def are_seen() -> bool:
        with runtime.sessions() as session:
            return all(_is_alive(session, name) for name in (scheduled_job.BEAT, scheduled_job.SWEEPER))

    wait_until(are_seen, seconds=_FIRST_SIGN, pause=_POLL)


def _is_alive(session: Session, name: str) -> bool:
    last = scheduled_job.last_claimed(session, name)
    return last is not None and account.now(session) - last <= _SILENT


def looks(oldest: timedelta, period: timedelta) -> Result:
    """Whether every subscription is looked at within the period, or nearly so."""
    found = f"The one that has waited longest was looked at {_hours(oldest)} ago"
    if oldest > period * _LATE:
        return Result(
            Level.WARNING,
            "oldest look at a subscription",
            f"{found}, where {_hours(period)} are promised.",
            "See that the provider answers and the workers run; if both do, the allowance is too small: "
            "raise SEATSYNC_PROVIDER_RATE with the provider's consent, or SEATSYNC_VERIFY_HOURS.",
        )
    return ok("oldest look at a subscription", f"{found}.")


def _beat(session: Session) -> Result:
    advice = "Run one `beat` and at least one `worker`, as in the Procfile; both need the broker."
    return _heartbeat(session, scheduled_job.BEAT, "beat and worker", advice)


def _sweeper(session: Session) -> Result:
    advice = "Run a `seatsync sweeper`: without it nothing is tried again, and no deadline is carried out."
    return _heartbeat(session, scheduled_job.SWEEPER, "sweeper", advice)


def _heartbeat(session: Session, name: str, who: str, advice: str) -> Result:
    last = scheduled_job.last_claimed(session, name)
    if last is None:
        return Result(Level.FAILURE, who, "No sign of life was ever seen.", advice)
    silence = account.now(session) - last
    if silence > _SILENT:
        return Result(Level.FAILURE, who, f"The last sign of life is {_minutes(silence)} old.", advice)
    return ok(who, f"The last sign of life is {silence.total_seconds():.0f} s old.")


def _given_up(session: Session) -> Iterator[Result]:
    now = service_health.read(session)
    yield _none_of(
        "dead letters",
        now.inbox.get(InboxState.DEAD, 0),
        "GET /v1/inbox?state=dead tells why; once that is mended, POST /v1/inbox/ID/replay.",
    )
    yield _none_of(
        "subscriptions given up on",
        now.subscriptions_dead,
        "Their dead letters tell why; POST /v1/accounts/ID/sync looks at them again.",
    )


def _standing(session: Session) -> Iterator[Result]:
    """Drift findings that stand; open ones are repaired by the next look, held ones wait for a person."""
    counts = Counter[str]()
    for (state, _cause), count in drift_finding.count_by_cause(session, states=_STANDING).items():
        counts[state] += count
    if counts:
        level = Level.WARNING if counts[FindingState.HELD] else Level.NOTE
        found = ", ".join(f"{counts[state]} {state}" for state in _STANDING if counts[state])
        advice = "`seatsync drift` shows each of them, its likely cause, and what to do about it."
        yield Result(level, "drift findings", found, advice)


def _none_of(what: str, number: int, advice: str) -> Result:
    return Result(Level.WARNING, what, str(number), advice) if number else ok(what, "none")


def _minutes(silence: timedelta) -> str:
    return f"{silence.total_seconds() / 60:.0f} minutes"


def _hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"


def _replaced(session: Session, catalog: Catalog) -> Iterator[Result]:
    """Processes with a catalogue that was replaced evaluate nothing, and would not be missed at once."""
    found = generation.state_of(session, catalog)
    if found.was_replaced:
        yield Result(
            Level.FAILURE,
            "catalogue in force",
            f"Generation {found.newest} has replaced this catalogue and release: processes with it "
            "evaluate no accounts.",
            "Restart them with the newer one, or run `seatsync migrate` to bring this one back into force.",
        )
