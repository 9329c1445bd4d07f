"""Files beside a server's data, by which processes agree on which of them starts and stops the server.

`lock` is held by the process that starts or stops the server. `users` is held, shared, by every process that
uses it: the last one to leave stops it, or the launcher if that one was killed. `alive` is held by the server
itself, so that its end is known without looking at pids. `state.json`, readable by its owner only, holds the
address of the server. The locks are `flock`s, which the kernel releases when a process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.embedded import launcher
from runtime.embedded.errors import EmbeddedServerError
from runtime.waiting import wait_until

LOCK_SECONDS = 60.0
PAUSE_SECONDS = 0.02
TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class State:
    """The address of the server, running or not. `pid` is None after an orderly stop."""

    url: str
    port: int
    password: str
    pid: int | None


class SharedState:
    """The files of one server in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "lock"
        self.users = folder / "users"
        self.alive = folder / "alive"
        self.state = folder / "state.json"
        self.log = folder / "log"
        self._membership: int | None = None

    def make_folder(self) -> None:
        """Create the folder, private except that for root the server's user may enter it. Raises
        `PermissionError` if it belongs to another user.
        """
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        elif (owner := self.folder.stat().st_uid) != os.geteuid():
            raise PermissionError(f"the folder belongs to user {owner}, this process to user {os.geteuid()}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock for starting and stopping the server. Raises `EmbeddedServerError` after a minute's
        wait.
        """
        descriptor = _open(self.lock)
        try:
            if not _seize_in_time(descriptor, LOCK_SECONDS):
                raise EmbeddedServerError(
                    f"another process has been starting or stopping the server in {self.folder} for over "
                    f"{LOCK_SECONDS:.0f} s: end it, or set SEATSYNC_HOME to another folder"
                )
            yield
        finally:
            os.close(descriptor)

    def wait_until_dead(self, patience: float) -> bool:
        """Wait for the server and its children to end. False if they still run after `patience` seconds."""
        descriptor = _open(self.alive)
        try:
            return _seize_in_time(descriptor, patience)
        finally:
            os.close(descriptor)

    def join(self) -> None:
        """Register this process as a user of the server. The lock must be held."""
        if self._membership is None:
            self._membership = _open(self.users)
            fcntl.flock(self._membership, fcntl.LOCK_SH)

    def leave(self) -> None:
        if self._membership is not None:
            os.close(self._membership)
            self._membership = None

    def is_member(self) -> bool:
        return self._membership is not None

    def is_replaced(self) -> bool:
        """True if the files were removed since `join`, and perhaps created again."""
        assert self._membership is not None
        try:
            return not os.path.samestat(os.fstat(self._membership), self.users.stat())
        except FileNotFoundError:
            return True

    def is_last_member(self) -> bool:
        """True if no other process uses the server. The lock must be held."""
        assert self._membership is not None
        return launcher.seize(self._membership)

    def read_state(self) -> State | None:
        try:
            return State(**json.loads(self.state.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write_state(self, state: State) -> None:
        draft = self.state.with_name("state.json.new")
        write_private(draft, json.dumps(asdict(state)))
        draft.replace(self.state)

    @contextlib.contextmanager
    def new_log(self) -> Iterator[int]:
        """An empty log file. The previous one is kept as `log.before`."""
        if self.log.exists():
            self.log.replace(self.log.with_name("log.before"))
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])


def write_private(path: Path, text: str) -> None:
    """Write a file that no other user can read at any time."""
    path.touch(0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _seize_in_time(descriptor: int, patience: float) -> bool:
    return wait_until(lambda: launcher.seize(descriptor), seconds=patience, pause=PAUSE_SECONDS)
