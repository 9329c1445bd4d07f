"""What every benchmark runs on: PostgreSQL (fsync on), Redis, and the service's processes."""

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

import migrations
from benchmarks.bodies import API_KEY, CATALOG, PROVIDER_KEY, SECRET
from cli import service_processes
from models.database import connect
from runtime.embedded import PostgresServer, RedisServer
from runtime.embedded.server import free_port
from runtime.settings import Settings
from runtime.supervisor import Command, Supervisor
from runtime.wiring import Runtime, build

_CHECKOUT = Path(__file__).parent.parent
_WEB_APP = "webhook_app.main:create()"
_OWN_WORKER_CLASS = "--worker-class=runtime.web_worker.Worker"
_BARE_WORKER_CLASS = "--worker-class=gevent"
_WORKER_APP = "--app=worker.main"
_BARE_WORKER_APP = "--app=benchmarks.bare.worker"
_START_SECONDS = 60.0
_TIMEOUT_SECONDS = 60.0
_NO_LIMIT = "1000000/second"


class NotStarted(Exception):
    """A process did not start; the message ends with its last lines of output."""


@dataclass(frozen=True, slots=True)
class Site:
    """One benchmark's own database, empty Redis and provider, and the environment that names them."""

    settings: Settings
    environment: dict[str, str]
    provider_port: int

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """A runtime in this process, connected to the same servers as the service's processes."""
        with closing(build(self.settings, application="seatsync-benchmarks")) as runtime:
            yield runtime

    @contextmanager
    def running(self, *commands: Command) -> Iterator[None]:
        """Run the commands under a supervisor; they end with the block.

        Raises NotStarted, with their last lines of output, if the block finds that one did not start.
        """
        lines: deque[str] = deque(maxlen=20)
        supervisor = Supervisor(commands, on_line=lambda name, line: lines.append(f"{name} | {line}"))
        supervising = threading.Thread(target=supervisor.run)
        supervising.start()
        try:
            yield
        except NotStarted as error:
            raise NotStarted("\n".join([str(error), *lines])) from None
        finally:
            supervisor.stop()
            supervising.join()

    @contextmanager
    def web(self) -> Iterator[int]:
        """Run the web process; yields its port."""
        with self._listening({}) as port:
            yield port

    @contextmanager
    def bare_web(self, app: str) -> Iterator[int]:
        """Run this app under gunicorn with the flags of the web process, but with gunicorn's own gevent
        worker; yields its port.
        """
        with self._listening({_WEB_APP: app, _OWN_WORKER_CLASS: _BARE_WORKER_CLASS}) as port:
            yield port

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run the Celery worker."""
        with self.running(self._command("worker", 0)):
            yield

    @contextmanager
    def bare_worker(self) -> Iterator[None]:
        """Run Celery with the flags of the worker and the bare app."""
        with self.running(_replaced(self._command("worker", 0), {_WORKER_APP: _BARE_WORKER_APP})):
            yield

    @contextmanager
    def all_processes(self) -> Iterator[int]:
        """Run everything that `seatsync up` starts; yields the port of the web process."""
        port = free_port(None)
        with self.running(*self._commands(port)):
            await_web(port)
            yield port

    def with_environment(self, changed: Mapping[str, str]) -> Site:
        """The same site with these environment variables changed."""
        environment = {**self.environment, **changed}
        return replace(self, settings=Settings.from_env(environment), environment=environment)

    def set_provider(self, *path: object) -> None:
        """Configure the provider: `seats, N`, `seats, N, SUBSCRIPTION` or `delay, MILLISECONDS`."""
        request_status(self.provider_port, "PUT", "/" + "/".join(map(str, path)))

    @contextmanager
    def _listening(self, replacements: Mapping[str, str]) -> Iterator[int]:
        port = free_port(None)
        with self.running(_replaced(self._command("web", port), replacements)):
            await_web(port)
            yield port

    def _command(self, name: str, port: int) -> Command:
        return next(command for command in self._commands(port) if command.name == name)

    def _commands(self, port: int) -> Sequence[Command]:
        settings = self.settings.model_copy(update={"port": port})
        return service_processes.commands(settings, self.environment)


class Servers:
    """PostgreSQL and Redis for the whole run; each benchmark gets a new site on them."""

    def __init__(self, home: Path, postgres: PostgresServer, redis_server: RedisServer) -> None:
        self.home = home
        self._postgres = postgres
        self._redis_url = redis_server.url
        self._catalog = home / "catalog.toml"
        self._catalog.write_text(CATALOG, encoding="utf-8")

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Create an empty database and yield its URL; it is dropped after the block."""
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
        """The PostgreSQL version, for the report."""
        engine = connect(self._postgres.url)
        with closing(engine.raw_connection()) as connection:
            driver_connection = connection.driver_connection
            assert driver_connection is not None
            version = driver_connection.info.server_version
        engine.dispose()
        return f"PostgreSQL {version // 10_000}.{version % 10_000}"


@contextmanager
def running() -> Iterator[Servers]:
    """Start both servers in a temporary folder; servers and folder are removed after the block."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seatsync-benchmarks-")))
        postgres = stack.enter_context(PostgresServer(home, durable=True))
        redis_server = stack.enter_context(RedisServer(home, durable=True))
        yield Servers(home, postgres, redis_server)


def request_status(port: int, method: str, path: str) -> int:
    """Send one request on a new connection; return the status of the response."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request(method, path)
        return connection.getresponse().status


def await_true(runtime: Runtime, query: str) -> None:
    """Return once the query returns true. Raises TimeoutError after a minute."""
    until = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < until:
        with runtime.sessions() as session:
            if session.scalar(text(query)):
                return
        time.sleep(0.02)
    raise TimeoutError(f"not true after {_TIMEOUT_SECONDS:.0f} s: {query}")


def await_web(port: int) -> None:
    """Return once the port answers with any status. Raises NotStarted after a minute."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        try:
            request_status(port, "GET", "/healthz/")
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        else:
            return
    raise NotStarted(f"nothing answers on port {port}")


def _replaced(command: Command, replacements: Mapping[str, str]) -> Command:
    """The command with these arguments replaced. Each must be there, so that a bare process cannot run our
    code unnoticed.
    """
    if missing := [argument for argument in replacements if argument not in command.argv]:
        raise ValueError(f"the command {command.name} has no argument {missing[0]}")
    return replace(command, argv=[replacements.get(argument, argument) for argument in command.argv])


def _python() -> str:
    return sys.executable
