"""What PostgreSQL and Redis have in common as embedded servers: one folder, one process, many users."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from runtime.embedded.errors import EmbeddedServerError
from runtime.embedded.run_as import Identity, launcher_command
from runtime.embedded.shared_state import PAUSE_SECONDS, SharedState, State

logger = logging.getLogger(__name__)

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
_REASON = re.compile(r"\b(FATAL|PANIC|error):")


class Server(ABC):
    """A server with its data under `home`, started by the first who asks and shared with all others.

    Whoever called `start` uses it until they call `stop` or end in any other way; then, if they were the
    last, the server ends too. If even the guard was killed, an orphan stays: the next start takes it over.
    """

    name: ClassVar[str]
    instead: ClassVar[str]  # the setting that makes the server unnecessary
    stop_signal: ClassVar[signal.Signals]
    left_behind: ClassVar[list[subprocess.Popen[bytes]]] = []  # guards of servers that others still use

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        """With `durable=False` the data are less safe and tests faster; each kind says how."""
        self.folder = home.resolve() / self.name
        self.durable = durable
        self._files = SharedState(self.folder)
        self._state: State | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def has_data(self) -> bool:
        """Whether the server was created before, running or not."""
        return (self.folder / "data").exists()

    @property
    def url(self) -> str:
        return self._started.url

    @property
    def port(self) -> int:
        return self._started.port

    @property
    def pid(self) -> int | None:
        """The server's own process, not the guard's; another user may have started it anew meanwhile."""
        return (self._files.read_state() or self._started).pid

    def is_alive(self) -> bool:
        """Whether the process that was started last exists; one that hangs does, too."""
        state = self._files.read_state()
        if state is None or state.pid is None:
            return False
        try:
            os.kill(state.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it runs as another user
            pass
        return True

    def start(self) -> str:
        """Use the server that runs on these data, or start it; returns its URL."""
        try:
            self._files.make_folder()
            with self._files.locked():
                self._state = self._enter()
        except OSError as error:
            raise EmbeddedServerError(
                f"{self.name} cannot keep its data in {self.folder}: {error}. Set SEATSYNC_HOME to a folder "
                f"that is yours and can be written, or {self.instead} to a server of yours"
            ) from error
        return self._state.url

    def stop(self) -> None:
        """Leave the server; the last to leave stops it. Doing it twice is a quiet no-op."""
        if not self._files.is_member():
            return
        if self._files.is_replaced():  # once we have left, the guard ends a server without its files
            self._leave(is_dead=False)
            return
        with self._files.locked():
            is_last = self._files.is_last_member()
            if is_last and (state := self._files.read_state()):
                self._end(state.pid)
                self._files.write_state(replace(state, pid=None))
            self._leave(is_dead=is_last)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Let the server die without warning, for tests; `start` brings it back at the same address."""
        if (pid := self.pid) is not None and self._is_ours(pid):
            os.kill(pid, how)
        self._part_from_guard(is_dead=self._files.wait_until_dead(STOP_SECONDS))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What each kind of server knows

    @abstractmethod
    def _prepare(self, password: str, *, is_known: bool) -> None:
        """Bring the data into being; see to it that the server will take the password, new or known."""

    @abstractmethod
    def _command(self, port: int, password: str) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def _url(self, port: int, password: str) -> str: ...

    @abstractmethod
    def _answers(self, state: State) -> bool:
        """Whether a server there takes our password and says that it keeps our data."""

    @abstractmethod
    def _recorded_pid(self) -> int | None:
        """The pid that the server itself wrote down beside its data."""

    @property
    @abstractmethod
    def _mark(self) -> str:
        """An argument on the command line of our server and of no other."""

    @property
    def _identity(self) -> Identity | None:
        """The user that the server runs as; None is ourselves."""
        return None

    # Starting

    def _enter(self) -> State:
        self._files.join()
        try:
            return self._attach() or self._launch()
        except BaseException:
            self._leave(is_dead=False)  # so that the guard ends what was half started
            raise

    def _attach(self) -> State | None:
        state = self._files.read_state()
        if state is None or state.pid is None or not self._answers(state):
            return None
        logger.info("embedded server found running", extra={"server": self.name, "pid": state.pid})
        return state

    def _launch(self) -> State:
        known = self._files.read_state()
        self._end_leftovers(known)
        password = known.password if known else secrets.token_urlsafe(24)
        self._prepare(password, is_known=known is not None)
        port = free_port(known.port if known else None)
        state = State(self._url(port, password), port, password, pid=None)
        self._files.write_state(state)
        state = replace(state, pid=self._spawn(self._command(port, password)))
        self._files.write_state(state)
        self._await_ready(state)
        logger.info("embedded server started", extra={"server": self.name, "pid": state.pid, "port": port})
        return state

    def _end_leftovers(self, known: State | None) -> None:
        """A server that does not answer, or that we have no memory of, ends before its data are used anew."""
        self._part_from_guard(is_dead=False)
        for pid in {known.pid if known else None, self._recorded_pid()}:
            self._end(pid)
        if not self._files.wait_until_dead(STOP_SECONDS):
            raise EmbeddedServerError(
                f"a process that does not look like our {self.name} uses {self.folder}: end it, or set "
                "SEATSYNC_HOME to another folder"
            )

    def _spawn(self, command: list[str]) -> int:
        """Start the guard, which starts the server; in a session of their own no Ctrl-C reaches them."""
        spec = self._spec(command) | {
            "lock": str(self._files.lock),
            "users": str(self._files.users),
            "stop_signal": self.stop_signal,
        }
        with self._files.new_log() as log:
            self._guard = subprocess.Popen(  # noqa: S603
                launcher_command(spec),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        with self._guard.stdout as answer:
            pid = answer.readline()
        if not pid:
            raise self._failed()
        return int(pid)

    def _run(self, command: list[str], *, text: str = "") -> None:
        """Run a program to its end, as the user that the server runs as."""
        done = subprocess.run(  # noqa: S603
            launcher_command(self._spec(command)), input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            program, said = Path(command[0]).name, done.stdout + done.stderr
            raise EmbeddedServerError(f"{program} failed in {self.folder}: {_worst_line(said)}")

    def _spec(self, command: list[str]) -> dict[str, object]:
        return {
            "command": command,
            "identity": asdict(self._identity) if self._identity else None,
            "alive": str(self._files.alive),
        }

    def _await_ready(self, state: State) -> None:
        assert self._guard is not None
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers(state):
            if self._guard.poll() is not None or time.monotonic() > deadline:
                raise self._failed()
            time.sleep(PAUSE_SECONDS)

    def _failed(self) -> EmbeddedServerError:
        return EmbeddedServerError(
            f"{self.name} did not start; the end of {self._files.log}:\n{self._files.log_tail()}"
        )

    # Ending

    def _end(self, pid: int | None) -> None:
        """End a server of ours, gently first; any other process that bears the number is left alone."""
        for how in (self.stop_signal, signal.SIGKILL):
            if pid is None or not self._is_ours(pid):
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            self._files.wait_until_dead(STOP_SECONDS)

    def _is_ours(self, pid: int) -> bool:
        return f" {self._mark} " in f" {command_line(pid)} "

    def _leave(self, *, is_dead: bool) -> None:
        self._files.leave()
        self._part_from_guard(is_dead=is_dead)
        self._state = None

    def _part_from_guard(self, *, is_dead: bool) -> None:
        """Reap the guard of a dead server; leave that of a living one to others, and reap it another time."""
        self.left_behind[:] = [each for each in self.left_behind if each.poll() is None]
        if self._guard is None:
            return
        if is_dead:
            self._guard.wait(STOP_SECONDS)
        else:
            self.left_behind.append(self._guard)
        self._guard = None

    @property
    def _started(self) -> State:
        if self._state is None:
            raise EmbeddedServerError(f"{self.name} has not been started")
        return self._state


def _worst_line(output: str) -> str:
    """What a program that failed gives as its reason, of all that it says; everything if it gives none."""
    lines = output.strip().splitlines()
    return next((line for line in lines if _REASON.search(line)), "\n".join(lines))


def free_port(wanted: int | None) -> int:
    """The wanted port if nobody has it, else any free one."""
    for port in (wanted or 0, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise EmbeddedServerError("no port is free on 127.0.0.1")


def command_line(pid: int) -> str:
    """What a process was started with; empty if there is none of that number, or only a zombie."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        return ""
    listed = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout
