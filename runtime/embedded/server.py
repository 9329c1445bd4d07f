"""Base class of the embedded servers: one folder, one server process, shared by many processes."""

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
    """A server with its data under `home`. The first process that calls `start` starts it, the others share
    it.

    A process uses the server until it calls `stop` or ends. When the last one has done so, the server stops.
    If its launcher was killed too, the server keeps running, and the next `start` uses it.
    """

    name: ClassVar[str]
    instead: ClassVar[str]  # the setting that makes the server unnecessary
    stop_signal: ClassVar[signal.Signals]
    left_behind: ClassVar[list[subprocess.Popen[bytes]]] = []  # launchers of servers that others use

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        """With `durable=False` tests are faster and the data less safe, see the subclasses."""
        self.folder = home.resolve() / self.name
        self.durable = durable
        self._files = SharedState(self.folder)
        self._state: State | None = None
        self._launcher: subprocess.Popen[bytes] | None = None

    @property
    def has_data(self) -> bool:
        """True if the server was created before, whether it runs or not."""
        return (self.folder / "data").exists()

    @property
    def url(self) -> str:
        return self._started.url

    @property
    def port(self) -> int:
        return self._started.port

    @property
    def pid(self) -> int | None:
        """The process id of the server itself. Another process may have restarted it meanwhile."""
        return (self._files.read_state() or self._started).pid

    def is_alive(self) -> bool:
        """True if the process that was started last exists, even if it hangs."""
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
        """Use the running server of this folder, or start it; return its URL."""
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
        """Leave the server; the last process to leave stops it. Does nothing if it was left before."""
        if not self._files.is_member():
            return
        if self._files.is_replaced():  # the launcher stops a server whose files were removed
            self._leave(is_dead=False)
            return
        with self._files.locked():
            is_last = self._files.is_last_member()
            if is_last and (state := self._files.read_state()):
                self._end(state.pid)
                self._files.write_state(replace(state, pid=None))
            self._leave(is_dead=is_last)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill the server, for tests. `start` restarts it at the same address."""
        if (pid := self.pid) is not None and self._is_ours(pid):
            os.kill(pid, how)
        self._release_launcher(is_dead=self._files.wait_until_dead(STOP_SECONDS))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What each kind of server defines

    @abstractmethod
    def _prepare(self, password: str, *, is_known: bool) -> None:
        """Create the data if there are none, and set the password unless the server knows it already."""

    @abstractmethod
    def _command(self, port: int, password: str) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def _url(self, port: int, password: str) -> str: ...

    @abstractmethod
    def _answers(self, state: State) -> bool:
        """True if a server at this address accepts our password and uses our data folder."""

    @abstractmethod
    def _recorded_pid(self) -> int | None:
        """The pid that the server itself wrote into its folder; None if there is none."""

    @property
    @abstractmethod
    def _command_line_mark(self) -> str:
        """An argument that only our server has on its command line, to recognise its process."""

    @property
    def _identity(self) -> Identity | None:
        """The user that the server runs as; None for the present one."""
        return None

    # Starting

    def _enter(self) -> State:
        self._files.join()
        try:
            return self._attach() or self._launch()
        except BaseException:
            self._leave(is_dead=False)  # then the launcher ends a server that was half started
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
        """End a server that does not answer or whose state file was lost, before its data are used again."""
        self._release_launcher(is_dead=False)
        for pid in {known.pid if known else None, self._recorded_pid()}:
            self._end(pid)
        if not self._files.wait_until_dead(STOP_SECONDS):
            raise EmbeddedServerError(
                f"a process that does not look like our {self.name} uses {self.folder}: end it, or set "
                "SEATSYNC_HOME to another folder"
            )

    def _spawn(self, command: list[str]) -> int:
        """Start the launcher, which starts the server. Ctrl-C does not reach their session."""
        spec = self._spec(command) | {
            "lock": str(self._files.lock),
            "users": str(self._files.users),
            "stop_signal": self.stop_signal,
        }
        with self._files.new_log() as log:
            self._launcher = subprocess.Popen(  # noqa: S603
                launcher_command(spec),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._launcher.stdout is not None
        with self._launcher.stdout as output:
            pid = output.readline()
        if not pid:
            raise self._failed()
        return int(pid)

    def _run(self, command: list[str], *, text: str = "") -> None:
        """Run a program as the user of the server, and wait for its end."""
        done = subprocess.run(  # noqa: S603
            launcher_command(self._spec(command)), input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            program, output = Path(command[0]).name, done.stdout + done.stderr
            raise EmbeddedServerError(f"{program} failed in {self.folder}: {_error_line(output)}")

    def _spec(self, command: list[str]) -> dict[str, object]:
        return {
            "command": command,
            "identity": asdict(self._identity) if self._identity else None,
            "alive": str(self._files.alive),
        }

    def _await_ready(self, state: State) -> None:
        assert self._launcher is not None
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers(state):
            if self._launcher.poll() is not None or time.monotonic() > deadline:
                raise self._failed()
            time.sleep(PAUSE_SECONDS)

    def _failed(self) -> EmbeddedServerError:
        return EmbeddedServerError(
            f"{self.name} did not start; the end of {self._files.log}:\n{self._files.log_tail()}"
        )

    # Ending

    def _end(self, pid: int | None) -> None:
        """End our server, first with its own stop signal. Any other process with that pid is left alone."""
        for how in (self.stop_signal, signal.SIGKILL):
            if pid is None or not self._is_ours(pid):
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            self._files.wait_until_dead(STOP_SECONDS)

    def _is_ours(self, pid: int) -> bool:
        return f" {self._command_line_mark} " in f" {command_line(pid)} "

    def _leave(self, *, is_dead: bool) -> None:
        self._files.leave()
        self._release_launcher(is_dead=is_dead)
        self._state = None

    def _release_launcher(self, *, is_dead: bool) -> None:
        """Reap the launcher of an ended server. One whose server still runs for others is reaped later."""
        self.left_behind[:] = [each for each in self.left_behind if each.poll() is None]
        if self._launcher is None:
            return
        if is_dead:
            self._launcher.wait(STOP_SECONDS)
        else:
            self.left_behind.append(self._launcher)
        self._launcher = None

    @property
    def _started(self) -> State:
        if self._state is None:
            raise EmbeddedServerError(f"{self.name} has not been started")
        return self._state


def _error_line(output: str) -> str:
    """The line of a failed program's output that gives the reason; all of the output if there is none."""
    lines = output.strip().splitlines()
    return next((line for line in lines if _REASON.search(line)), "\n".join(lines))


def free_port(wanted: int | None) -> int:
    """The wanted port if it is free, otherwise any free one."""
    for port in (wanted or 0, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise EmbeddedServerError("no port is free on 127.0.0.1")


def command_line(pid: int) -> str:
    """The command line of a process; empty if there is no such process, or only a zombie."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        return ""
    listed = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout
