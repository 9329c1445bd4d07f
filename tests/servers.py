"""One PostgreSQL and one Redis for a whole test run, and the databases of each test process in them."""

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
from models.database import connect as sqlalchemy_engine
from runtime.embedded import PostgresServer, RedisServer

TEMPLATE = "template_seatsync"
REDIS_DATABASES = 256
REDIS_DATABASES_EACH = 4


class ManyDatabasesRedis(RedisServer):
    """A Redis with enough numbered databases for every test process."""

    def _command(self, port: int, password: str) -> list[str]:
        return [*super()._command(port, password), "--databases", str(REDIS_DATABASES)]


@dataclass(frozen=True)
class Servers:
    """The servers of a run, with the databases of this test process."""

    databases: Databases
    redis: RedisDatabases
    seconds_to_start: float

    @classmethod
    @contextmanager
    def shared(cls, folder: Path, process: str, number: int) -> Iterator[Servers]:
        """Start or join the servers in `folder`. The first process starts them, the last one stops them.

        `process` and `number` identify this test process. The first process also creates the migrated
        template that databases are copied from.
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
    """The databases of one test process in the shared PostgreSQL; their names start with its name."""

    server_url: str
    process: str

    @property
    def url(self) -> str:
        """The main database of this process."""
        return self._address(self._name("main"))

    def create_database(self, name: str, *, is_migrated: bool = False) -> str:
        """Create a database, with the schema if `is_migrated`, and return its URL.

        A database of this name that a killed run left behind is replaced.
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
        """Create the migrated template, unless another process has created it."""
        if self._administer("SELECT 1 FROM pg_database WHERE datname = {}", sql.Literal(TEMPLATE)):
            return
        draft = f"{TEMPLATE}_draft"
        self._administer("DROP DATABASE IF EXISTS {}", sql.Identifier(draft))
        self._administer("CREATE DATABASE {}", sql.Identifier(draft))
        engine = sqlalchemy_engine(self._address(draft))
        migrations.upgrade(engine)
        engine.dispose()
        self._administer("ALTER DATABASE {} RENAME TO {}", sql.Identifier(draft), sql.Identifier(TEMPLATE))

    def _administer(self, statement: str, *parts: sql.Composable) -> int:
        """Run the statement outside a transaction; returns its row count."""
        server = make_url(self.server_url).set(drivername="postgresql", database="postgres")
        with connect(server.render_as_string(hide_password=False), autocommit=True) as connection:
            return connection.execute(sql.SQL(statement).format(*parts)).rowcount

    def _address(self, database: str) -> str:
        return make_url(self.server_url).set(database=database).render_as_string(hide_password=False)

    def _name(self, name: str) -> str:
        return f"{self.process}_{name}"


@dataclass(frozen=True)
class RedisDatabases:
    """The numbered databases of one test process in the shared Redis."""

    server_url: str
    first: int

    @property
    def url(self) -> str:
        """The URL of the database that most tests use; it is emptied before each of them."""
        return self._url(self.first)

    def empty_database(self, number: int) -> str:
        """Empty another database of this process and return its URL. Numbers start at 1."""
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
