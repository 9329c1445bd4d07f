"""A database whose now() is fixed until a test moves it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine, text

from models.all_tables import TABLES
from models.database import connect
from tests.factories import NOON

# The search path finds this now() before PostgreSQL's own. Migrations must run after it is set, because
# column defaults keep the function that they found when they were created.
_OWN_NOW = """
CREATE TABLE public.clock (moment timestamptz NOT NULL);
INSERT INTO public.clock VALUES (pg_catalog.now());
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT moment FROM public.clock';
DO $$ BEGIN
    EXECUTE 'ALTER DATABASE ' || quote_ident(current_database()) || ' SET search_path = public, pg_catalog';
END $$
"""

# One statement for all tables. Replica mode skips foreign keys and the trigger that protects the audit;
# DELETE is faster than TRUNCATE on tables this small.
_EMPTY = "DO $$ BEGIN SET LOCAL session_replication_role = replica; {} END $$".format(
    " ".join(f"DELETE FROM {table.__tablename__};" for table in TABLES)
)


def give_own_clock(url: str) -> None:
    """Replace now() in the empty database; new connections use the replacement."""
    engine = connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(_OWN_NOW)
    engine.dispose()


def empty(engine: Engine) -> None:
    """Delete all rows of the service's tables."""
    with engine.begin() as connection:
        connection.exec_driver_sql(_EMPTY)


class Clock:
    """Sets the database's now(); it starts at noon."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.set(NOON)

    def set(self, moment: datetime) -> None:
        self.now = moment
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE clock SET moment = :moment"), {"moment": moment})

    def advance(self, time: timedelta) -> None:
        self.set(self.now + time)
