"""A database whose now() stands still until a test moves it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine, text

from models.all_tables import TABLES
from models.database import connect
from tests.factories import NOON

# Found before PostgreSQL's own, by the service's statements and by the migrations, whose column defaults
# keep what they find.
_OWN_NOW = """
CREATE TABLE public.clock (moment timestamptz NOT NULL);
INSERT INTO public.clock VALUES (pg_catalog.now());
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT moment FROM public.clock';
DO $$ BEGIN
    EXECUTE 'ALTER DATABASE ' || quote_ident(current_database()) || ' SET search_path = public, pg_catalog';
END $$
"""

# One trip to the server. Replica mode skips foreign keys and the audit's guard, and DELETE is quicker than
# TRUNCATE on tables this small.
_EMPTY = "DO $$ BEGIN SET LOCAL session_replication_role = replica; {} END $$".format(
    " ".join(f"DELETE FROM {table.__tablename__};" for table in TABLES)
)


def give_own_clock(url: str) -> None:
    """Make the empty database's now() ours; connections made from here on see it."""
    engine = connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(_OWN_NOW)
    engine.dispose()


def empty(engine: Engine) -> None:
    """Leave not a row of the service's."""
    with engine.begin() as connection:
        connection.exec_driver_sql(_EMPTY)


class Clock:
    """What the database takes for now; it begins at noon."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.set(NOON)

    def set(self, moment: datetime) -> None:
        self.now = moment
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE clock SET moment = :moment"), {"moment": moment})

    def advance(self, time: timedelta) -> None:
        self.set(self.now + time)
