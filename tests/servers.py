"""One PostgreSQL and one Redis for a whole test run, and each test process's share of them."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from psycopg import connect, sql
from sqlalchemy import make_url

import migrations
from models import database as session
from runtime.embedded import PostgresServer, RedisServer

TEMPLATE = "template_seatsync"
REDIS_DATABASES = 256
REDIS_DATABASES_EACH = 4


class ManyDatabasesRedis(RedisServer):
    """With enough numbered databases for every test process."""

    def _command(self, port: int, password: str) -> list[str]:
        return [*super()._command(port, password), "--databases", str(REDIS_DATABASES)]


@dataclass(frozen=True)
class Servers:
    """The servers of a run, as one test process sees them."""

    databases: Databases
    redis: RedisDatabases
    seconds_to_start: float

    @classmethod
    @contextmanager
    def shared(cls, folder: Path, process: str, number: int) -> Iterator[Servers]:
        """The servers below `folder`: the first process to ask starts them, the last to leave stops them.

        `process` and `number` are this test process's own. The first also migrates the template that
        every database is copied from.
        """
        began = time.monotonic()
        with (
            PostgresServer(folder, durable=False) as postgres,
            ManyDatabasesRedis(folder, durable=False) as redis_server,
        ):
            databases = Databases(postgres.url, process)
            with (folder / "template.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                databases.make_template()
            seconds = time.monotonic() - began
            yield cls(databases, RedisDatabases(redis_server.url, number * REDIS_DATABASES_EACH), seconds)


@dataclass(frozen=True)
class Databases:
    """The databases of one test process in the PostgreSQL of all; their names carry its own."""

    server_url: str
    process: str

    @property
    def url(self) -> str:
        """The main database of this process."""
        return self._address(self._name("main"))

    def create_database(self, name: str, *, is_migrated: bool = False) -> str:
        """Make a database, with the schema in it if `is_migrated`, and return its address.

        One that a killed run left behind is replaced.
        """
        self.drop_database(name)
        template = TEMPLATE if is_migrated else "template1"
        self._administer(
            "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY",
            sql.Identifier(self._name(name)),
            sql.Identifier(template),
        )
        return self._address(self._name(name))

    def drop_database(self, name: str) -> None:
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(self._name(name)))

    def make_template(self) -> None:
        """Make the migrated template, unless another process has."""
        if self._administer("SELECT 1 FROM pg_database WHERE datname = {}", sql.Literal(TEMPLATE)):
            return
        draft = f"{TEMPLATE}_draft"
        self._administer("DROP DATABASE IF EXISTS {}", sql.Identifier(draft))
        self._administer("CREATE DATABASE {}", sql.Identifier(draft))
        engine = session.connect(self._address(draft))
        migrations.upgrade(engine)
        engine.dispose()
        self._administer("ALTER DATABASE {} RENAME TO {}", sql.Identifier(draft), sql.Identifier(TEMPLATE))

    def _administer(self, statement: str, *parts: sql.Composable) -> int:
        """Run it outside a transaction; returns how many rows it found."""
        server = make_url(self.server_url).set(drivername="postgresql", database="postgres")
        with connect(server.render_as_string(hide_password=False), autocommit=True) as connection:
            return connection.execute(sql.SQL(statement).format(*parts)).rowcount

    def _address(self, database: str) -> str:
        return make_url(self.server_url).set(database=database).render_as_string(hide_password=False)

    def _name(self, name: str) -> str:
        return f"{self.process}_{name}"


@dataclass(frozen=True)
class RedisDatabases:
    """The numbered databases of one test process in the Redis of all."""

    server_url: str
    first: int

    @property
    def url(self) -> str:
        """The one that most tests use, which is emptied before each of them."""
        return self._url(self.first)

    def empty_database(self, number: int) -> str:
        """The address of another one, with nothing in it. Numbers begin at 1."""
        if not 0 < number < REDIS_DATABASES_EACH:
            raise ValueError(f"a test process has the databases 1 to {REDIS_DATABASES_EACH - 1}")
        url = self._url(self.first + number)
        flush(url)
        return url

    def _url(self, number: int) -> str:
        return f"{self.server_url.rpartition('/')[0]}/{number}"


def flush(redis_url: str) -> None:
    """Empty one numbered database."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
