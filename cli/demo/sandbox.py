"""The isolated environment of a demo: its own folder, keys, ports and servers."""

from __future__ import annotations

import contextlib
import fcntl
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.demo.environment import NOT_USED, environment, stored_key
from cli.demo.examples import Examples
from domain.errors import SettingsError
from runtime.embedded import PostgresServer, RedisServer
from runtime.embedded.server import free_port
from runtime.servers import watching
from runtime.settings import Settings
from runtime.supervisor import Command
from runtime.wiring import redis_client

_DATABASE: Final = "demo"
_USUAL_PORT: Final = 8000

# Key and secret are passed as environment variables, because all users of a machine can read command lines.
_SIMULATOR: Final = "from simulator.__main__ import main; main(auto_envvar_prefix='SIMULATOR')"

# With this speed, failed deliveries are retried after half a second instead of five.
_SPEED: Final = 10


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The folder of one demo, and the environment variables of its processes."""

    folder: Path
    environment: Mapping[str, str]
    examples: Examples
    ignored: tuple[str, ...] = ()
    """Variables that are set and that the demo ignores."""

    @property
    def log(self) -> Path:
        return self.folder / "demo.log"

    @property
    def examples_file(self) -> Path:
        return self.folder / "curl.txt"

    @property
    def relative_folder(self) -> Path:
        """The folder, relative to the current folder if it is inside it."""
        current = Path.cwd()
        return self.folder.relative_to(current) if self.folder.is_relative_to(current) else self.folder

    @property
    def url(self) -> str:
        return self.examples.url

    @property
    def simulator(self) -> Command:
        """The command of the simulator, with a small business whose subscriptions keep changing."""
        _, _, port = self.environment["DODO_PAYMENTS_BASE_URL"].rpartition(":")
        options = [
            f"--port={port}",
            f"--webhook-url={self.url}/webhooks/dodo",
            f"--speed={_SPEED}",
            "--play",
        ]
        secret, _, _ = self.environment["DODO_PAYMENTS_WEBHOOK_KEY"].strip(", ").partition(",")
        variables = {
            **self.environment,
            "SIMULATOR_API_KEY": self.environment["DODO_PAYMENTS_API_KEY"],
            "SIMULATOR_WEBHOOK_SECRET": secret.strip(),
        }
        return Command("simulator", [sys.executable, "-c", _SIMULATOR, *options], variables)

    @contextlib.contextmanager
    def servers(self) -> Iterator[tuple[str, str]]:
        """Start PostgreSQL with a new, empty database and an empty Redis; yields their URLs."""
        # Redis need not write anything to disk: the next demo starts empty.
        with (
            PostgresServer(self.folder) as postgres,
            RedisServer(self.folder, durable=False) as redis,
            watching([postgres, redis]),
        ):
            postgres.drop_database(_DATABASE)
            with redis_client(redis.url) as client:
                client.flushall()  # a Redis of a demo that was just killed may still be running
            yield postgres.create_database(_DATABASE), redis.url


@contextlib.contextmanager
def sandbox(given: Mapping[str, str]) -> Iterator[Sandbox]:
    """The sandbox for the given environment variables. Raises `SettingsError` if another demo uses its
    folder.
    """
    ignored = tuple(sorted(name for name in NOT_USED if given.get(name)))
    given = {name: value for name, value in given.items() if value and name not in NOT_USED}
    home = Path(given.get("SEATSYNC_HOME", Settings.model_fields["home"].default)).resolve()
    folder = home / "demo"
    with _locked(folder):
        key = given.get("SEATSYNC_API_KEY") or stored_key(folder / "api-key")
        port = given["PORT"] if given.get("PORT", "0") != "0" else str(free_port(_USUAL_PORT))
        examples = Examples(
            f"http://127.0.0.1:{port}", "$SEATSYNC_API_KEY" if "SEATSYNC_API_KEY" in given else key
        )
        generated = {"SEATSYNC_API_KEY": key, "SEATSYNC_HOME": str(folder), "PORT": port}
        yield Sandbox(folder, environment({**given, **generated}), examples, ignored)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder: two demos in one folder would drop each other's database."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w", encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"The demo cannot write to {folder}: {error.strerror}. "
            "Set SEATSYNC_HOME to a folder that is writable."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"Another demo is running with its data in {folder}. "
                "End that one, or set SEATSYNC_HOME to another folder."
            ) from None
        yield
