"""Checks of the database: reachable, migrated, clock, and members who share an e-mail address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

import migrations
from cli.doctor.result import Level, Result, ok
from domain.errors import PoolerMisused
from models import account
from models.assignment import shared_addresses
from models.database import has_pid_of_server
from runtime.wiring import Runtime

_MAX_SKEW = timedelta(minutes=1)


def check(runtime: Runtime) -> Iterator[Result]:
    """Check the database; the further checks are skipped if it does not respond."""
    try:
        with runtime.sessions() as session:
            database_time = account.now(session)
    except SQLAlchemyError as error:
        yield Result(
            Level.FAILURE,
            "database",
            f"The database does not respond ({type(error).__name__}).",
            "Check that PostgreSQL runs, and check DATABASE_URL. Meanwhile deliveries are refused, and the "
            "provider sends them again.",
        )
        return
    yield ok("database", "The database responds.")
    yield from _direct_address(runtime)
    yield schema(migrations.revision_of(runtime.engine), migrations.newest())
    yield clock(database_time - datetime.now(UTC))
    yield from _addresses(runtime)


def _direct_address(runtime: Runtime) -> Iterator[Result]:
    """The address beside the pooler's, if there is one."""
    if runtime.direct_engine is None:
        return
    name = "direct database"
    try:
        with runtime.direct_engine.connect() as connection:
            is_certain = has_pid_of_server(connection)
    except SQLAlchemyError as error:
        yield Result(
            Level.FAILURE,
            name,
            f"PostgreSQL does not respond without the pooler ({type(error).__name__}).",
            "Check DATABASE_DIRECT_URL. Meanwhile no notices are sent.",
        )
    except PoolerMisused:
        yield Result(
            Level.FAILURE,
            name,
            "DATABASE_DIRECT_URL leads through a pooler too.",
            "Set it to PostgreSQL itself. Meanwhile no notices are sent.",
        )
    else:
        yield direct_address(is_certain=is_certain)


def direct_address(*, is_certain: bool) -> Result:
    """The result for a direct address that responds. `is_certain`: it surely leads to PostgreSQL itself."""
    name = "direct database"
    if is_certain:
        return ok(name, "PostgreSQL responds without the pooler.")
    return Result(
        Level.WARNING,
        name,
        "DATABASE_DIRECT_URL leads through a proxy that gives connections process ids of its own.",
        "If it is a connection pooler, time limits and locks are lost: set DATABASE_DIRECT_URL to PostgreSQL "
        "itself. If it pools nothing, as with Neon's direct address, there is nothing to do.",
    )


def _addresses(runtime: Runtime) -> Iterator[Result]:
    """Members who share an e-mail address, from before that was refused."""
    # The query fails if the database is not migrated, which the other check reports.
    with suppress(SQLAlchemyError), runtime.sessions() as session:
        if shared := shared_addresses(session):
            yield Result(
                Level.WARNING,
                "members with the same address",
                ", ".join(
                    f"{one.account_id}: {one.member_id} and {one.other_member_id}" for one in shared[:10]
                ),
                "Each of them holds a seat. Release one of each pair, or change its address. "
                "`seatsync migrate` lists all of them.",
            )


def schema(applied: str | None, newest: str | None) -> Result:
    """Compare the database's schema revision with the one of this release."""
    if applied == newest:
        return ok("database schema", f"The schema is at revision {applied}, the newest.")
    if applied is None:
        advice = "Run `seatsync migrate`."
        return Result(Level.FAILURE, "database schema", "The database has no schema yet.", advice)
    return Result(
        Level.FAILURE,
        "database schema",
        f"The database is at revision {applied}, this release at {newest}.",
        "Run `seatsync migrate`. If the database's revision is newer, install the release that migrated it.",
    )


def clock(skew: timedelta) -> Result:
    """Compare the database's clock, which decides all deadlines, with this machine's."""
    seconds = round(skew.total_seconds())
    if abs(skew) > _MAX_SKEW:
        found = f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} this machine's clock"
        advice = "Use NTP on both machines: the database's clock decides all deadlines."
        return Result(Level.WARNING, "database's clock", found, advice)
    return ok("database's clock", "same as this machine's clock")
