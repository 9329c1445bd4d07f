"""The ground every benchmark stands on: PostgreSQL (fsync on), Redis, and the service's processes."""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import redis
from sqlalchemy import text

import cli.service_processes
import migrations
from benchmarks.bodies import API_KEY, CATALOG, PROVIDER_KEY, SECRET
from models.database import connect
from runtime.embedded import PostgresServer, RedisServer
from runtime.embedded.server import free_port
from runtime.settings import Settings
from runtime.supervisor import Command, Supervisor
from runtime.wiring import Runtime, build

_CHECKOUT = Path(__file__).parent.parent
_WEB_APP = "webhook_app.main:create()"
_WORKER_APP = "--app=worker.main"
_START_SECONDS = 30.0
_PATIENCE = 60.0
_NO_LIMIT = "1000000/second"


class NotStarted(Exception):
    """A process of ours did not come up; its last words are the message."""


@dataclass(frozen=True, slots=True)
class Site:
    """One benchmark's own database, emptied Redis and provider, and the environment that names them."""

    settings: Settings
    environment: dict[str, str]
    provider_port: int

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """Connections of our own to the same servers, as the service's processes make theirs."""
        with closing(build(self.settings, application="seatsync-benchmarks")) as runtime:
            yield runtime

    @contextmanager
    def running(self, *commands: Command) -> Iterator[None]:
        """The commands, started, watched and ended; their last lines are shown if one keeps ending."""
        lines: deque[str] = deque(maxlen=20)
        supervisor = Supervisor(commands, on_line=lambda name, line: lines.append(f"{name} | {line}"))
        keeper = threading.Thread(target=supervisor.run)
        keeper.start()
        try:
            yield
        except NotStarted as error:
            raise NotStarted("\n".join([str(error), *lines])) from None
        finally:
            supervisor.stop()
            keeper.join()

    @contextmanager
    def web(self, app: str = _WEB_APP) -> Iterator[int]:
        """gunicorn with the flags of the real web process, serving this app; yields its port."""
        port = free_port(None)
        command = self._command("web", port)
        argv = [argument.replace(_WEB_APP, app) for argument in command.argv]
        with self.running(replace(command, argv=argv)):
            await_web(port)
            yield port

    @contextmanager
    def worker(self, app: str) -> Iterator[None]:
        """Celery with the flags of the real worker."""
        command = self._command("worker", 0)
        argv = [argument.replace(_WORKER_APP, f"--app={app}") for argument in command.argv]
        with self.running(replace(command, argv=argv)):
            yield

    @contextmanager
    def fleet(self) -> Iterator[int]:
        """Everything that `seatsync up` starts; yields the port of the web process."""
        port = free_port(None)
        with self.running(*self._commands(port)):
            await_web(port)
            yield port

    def but_with(self, settings: Mapping[str, str]) -> Site:
        """The same site for processes whose environment says some things otherwise."""
        environment = {**self.environment, **settings}
        return replace(self, settings=Settings.from_env(environment), environment=environment)

    def tell_provider(self, *path: object) -> None:
        """`seats, N`, `seats, N, SUBSCRIPTION` or `delay, MILLISECONDS`."""
        ask(self.provider_port, "PUT", "/" + "/".join(map(str, path)))

    def _command(self, name: str, port: int) -> Command:
        return next(command for command in self._commands(port) if command.name == name)

    def _commands(self, port: int) -> Sequence[Command]:
        return cli.service_processes.commands(
            self.settings.model_copy(update={"port": port}), self.environment
        )


class Servers:
    """PostgreSQL and Redis for the whole run, and a fresh site on them for each benchmark."""

    def __init__(self, home: Path, postgres: PostgresServer, redis_server: RedisServer) -> None:
        self.home = home
        self._postgres = postgres
        self._redis_url = redis_server.url
        self._catalog = home / "catalog.toml"
        self._catalog.write_text(CATALOG, encoding="utf-8")

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The address of an empty database, which goes with the block."""
        yield self._postgres.create_database(name)
        self._postgres.drop_database(name)

    @contextmanager
    def site(self, name: str) -> Iterator[Site]:
        """An empty database with the schema, an empty Redis, and a provider."""
        with self.database(name) as database_url:
            with closing(redis.Redis.from_url(self._redis_url)) as client:
                client.flushall()
            engine = connect(database_url)
            migrations.upgrade(engine)
            engine.dispose()
            port = free_port(None)
            environment = {
                "DATABASE_URL": database_url,
                "REDIS_URL": self._redis_url,
                "DODO_PAYMENTS_API_KEY": PROVIDER_KEY,
                "DODO_PAYMENTS_WEBHOOK_KEY": SECRET,
                "DODO_PAYMENTS_BASE_URL": f"http://127.0.0.1:{port}",
                "SEATSYNC_CATALOG": str(self._catalog),
                "SEATSYNC_API_KEY": API_KEY,
                "SEATSYNC_HOME": str(self.home),
                "SEATSYNC_PROVIDER_RATE": _NO_LIMIT,
                "PYTHONPATH": str(_CHECKOUT),
                "PATH": os.environ["PATH"],
            }
            site = Site(Settings.from_env(environment), environment, port)
            provider = Command("provider", [_python(), "-m", "benchmarks.provider", str(port)], environment)
            with site.running(provider):
                await_web(port)
                yield site

    def version(self) -> str:
        """PostgreSQL's, for the report."""
        engine = connect(self._postgres.url)
        with closing(engine.raw_connection()) as connection:
            version = connection.driver_connection.info.server_version
        engine.dispose()
        return f"PostgreSQL {version // 10_000}.{version % 10_000}"


@contextmanager
def running() -> Iterator[Servers]:
    """Both servers, in a folder that goes with them; nothing in them outlives the block."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seatsync-benchmarks-")))
        postgres = stack.enter_context(PostgresServer(home, durable=True))
        redis_server = stack.enter_context(RedisServer(home, durable=True))
        yield Servers(home, postgres, redis_server)


def ask(port: int, method: str, path: str) -> int:
    """The status of one request on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request(method, path)
        return connection.getresponse().status


def await_answer(runtime: Runtime, question: str) -> None:
    """Return once the database answers true."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        with runtime.sessions() as session:
            if session.scalar(text(question)):
                return
        time.sleep(0.02)
    raise TimeoutError(f"not true after {_PATIENCE:.0f} s: {question}")


def await_web(port: int) -> None:
    """Return once somebody answers there, whatever the answer."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        try:
            ask(port, "GET", "/healthz/")
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        else:
            return
    raise NotStarted(f"nobody answers on port {port}")


def _python() -> str:
    return sys.executable
