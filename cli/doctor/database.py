"""The database: there, migrated, and with the right time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

import migrations
from cli.doctor.result import Level, Result, ok
from models import account
from models.assignment import shared_addresses
from runtime.wiring import Runtime

_TOLERABLE_SKEW = timedelta(minutes=1)


def check(runtime: Runtime) -> Iterator[Result]:
    """Nothing else is asked of one that does not answer."""
    try:
        with runtime.sessions() as session:
            theirs = account.now(session)
    except SQLAlchemyError as error:
        yield Result(
            Level.FAILURE,
            "database",
            f"It does not answer ({type(error).__name__}).",
            "Check that PostgreSQL runs, and DATABASE_URL. Deliveries are refused meanwhile, and come again.",
        )
        return
    yield ok("database", "It answers.")
    yield schema(migrations.revision_of(runtime.engine), migrations.newest())
    yield clock(theirs - datetime.now(UTC))
    yield from _addresses(runtime)


def _addresses(runtime: Runtime) -> Iterator[Result]:
    """Members who have one address, from before that was refused; a database without it has a worse fault."""
    with suppress(SQLAlchemyError), runtime.sessions() as session:
        if shared := shared_addresses(session):
            yield Result(
                Level.WARNING,
                "members with one address",
                ", ".join(
                    f"{one.account_id}: {one.member_id} and {one.other_member_id}" for one in shared[:10]
                ),
                "Each keeps a seat. Release one of each, or give it another address; `seatsync migrate` "
                "lists all of them.",
            )


def schema(applied: str | None, newest: str | None) -> Result:
    """Whether the database's revision is this release's."""
    if applied == newest:
        return ok("database schema", f"It is at revision {applied}, the newest.")
    if applied is None:
        advice = "Run `seatsync migrate`."
        return Result(Level.FAILURE, "database schema", "There is none yet.", advice)
    return Result(
        Level.FAILURE,
        "database schema",
        f"The database is at revision {applied}, this release at {newest}.",
        "Run `seatsync migrate`. If the database is the newer one, install the release that made it so.",
    )


def clock(skew: timedelta) -> Result:
    """How far the database's clock, which all deadlines go by, is from this machine's."""
    seconds = round(skew.total_seconds())
    if abs(skew) > _TOLERABLE_SKEW:
        found = f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
        advice = "Let both machines take their time from NTP: deadlines go by the database's clock."
        return Result(Level.WARNING, "database's clock", found, advice)
    return ok("database's clock", "as this machine's")
