"""A PgBouncer of a test's own, in transaction mode and with few connections, on a free loopback port."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, LiteralString, Self

import psycopg
import pytest
from sqlalchemy import make_url

from tests.stack import free_port
from tests.waiting import wait_until

POOL_SIZE: Final = 3

_PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
_NOBODY: Final = 65534

needs_pgbouncer = pytest.mark.skipif(
    _PROGRAM is None, reason="needs PgBouncer: apt-get install pgbouncer (.ci/install-servers does it)"
)


class PgBouncer:
    """A pooler before the PostgreSQL server of `database_url`, for all its databases.

    `ignored` are the parameters of a connection's start that it ignores; it refuses others.
    """

    def __init__(self, folder: Path, database_url: str, *, ignored: str = "") -> None:
        self._folder = folder
        self._server = make_url(database_url)
        self._ignored = ignored
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        assert _PROGRAM is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        users, settings = self._folder / "users", self._folder / "pgbouncer.ini"
        users.write_text(f'"{self._server.username}" "{self._server.password}"\n', encoding="utf-8")
        settings.write_text(
            f"""
            [databases]
            * = host={self._server.host} port={self._server.port}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {self._port}
            unix_socket_dir =
            auth_type = trust
            auth_file = {users}
            admin_users = {self._server.username}
            pool_mode = transaction
            default_pool_size = {POOL_SIZE}
            max_client_conn = 500
            ignore_startup_parameters = {self._ignored}
            """.replace(" " * 12, ""),
            encoding="utf-8",
        )
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                # It refuses to run as root, and gives root's rights up after it has read its files.
                [_PROGRAM, *(["-u", "nobody"] if os.geteuid() == 0 else []), str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_until(self._answers, "PgBouncer answers", self.log)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def url(self, database_url: str) -> str:
        """The address of this database through the pooler."""
        pooled = make_url(database_url).set(host="127.0.0.1", port=self._port)
        return pooled.render_as_string(hide_password=False)

    def reconnect(self) -> None:
        """Have every connection to the server replaced before it is used again."""
        self._command("RECONNECT")

    def log(self) -> str:
        return (self._folder / "output").read_text(errors="replace")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"PgBouncer ended with exit code {self._process.returncode}\n{self.log()}")
        try:
            self._command("SHOW VERSION")
        except psycopg.OperationalError:
            return False
        return True

    def _command(self, command: LiteralString) -> None:
        console = psycopg.connect(
            host="127.0.0.1", port=self._port, user=self._server.username, dbname="pgbouncer", autocommit=True
        )
        with console, psycopg.ClientCursor(console) as cursor:
            cursor.execute(command)
