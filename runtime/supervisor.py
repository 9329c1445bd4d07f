"""Keeps a handful of commands running, and leaves none of their processes behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from domain.errors import SeatSyncError
from runtime import parent_death

GRACE_SECONDS = 15.0
RESTARTS_PER_MINUTE = 5
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
TICK_SECONDS = 0.1
ECHO_SECONDS = 1.0
CHUNK_BYTES = 64 * 1024
LAST_READS = 16
MINUTE_SECONDS = 60.0

OnLine = Callable[[str, str], None]
"""Takes the name of a command and a line that it wrote, without the line's end."""


class KeepsEnding(SeatSyncError):
    """A command ended so often that starting it again is of no use."""

    code = "process_keeps_ending"


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and its name in the output; `env` is its whole environment, None is ours."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None


def prefixed(stream: TextIO, commands: Sequence[Command]) -> OnLine:
    """Write every line to the stream, after the name of the command that it comes from."""
    width = max((len(command.name) for command in commands), default=0)

    def write(name: str, line: str) -> None:
        stream.write(f"{name:<{width}} | {line}\n")
        stream.flush()

    return write


class Supervisor:
    """Runs commands, each in a session of its own, and starts those again that end by themselves.

    As the commands are in other sessions, Ctrl-C in a terminal reaches only us, and we end them in good
    order: SIGTERM to the command itself, which knows best how to end its children (the same signal to the
    children of a Celery worker would tear tasks in two), and SIGKILL to what is left of its process group
    once the command has ended or the grace is over. If we are killed, Linux sends the commands SIGTERM.

    Everything happens in one thread, the callback included. It has to live as long as the commands: to Linux,
    the end of the thread that started one is the end of its parent.
    """

    def __init__(
        self,
        commands: Sequence[Command],
        *,
        on_line: OnLine | None = None,
        grace: float = GRACE_SECONDS,
        restarts_per_minute: int = RESTARTS_PER_MINUTE,
    ) -> None:
        self._on_line = on_line or prefixed(sys.stdout, commands)
        self._grace = grace
        self._restarts_per_minute = restarts_per_minute
        self._children = [Child(command) for command in commands]
        self._deadline: float | None = None
        self._asked_at: float | None = None
        self._failure: str | None = None
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def run(self) -> None:
        """Run until a signal or `stop` ends it; raises KeepsEnding if a command does just that."""
        with self._obeying_signals(), self:
            while self.step():
                pass
        if self._failure:
            raise KeepsEnding(self._failure)

    def stop(self) -> None:
        """Ask for the end, from any thread or signal handler; asked a second time, it comes at once."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at, self._deadline = now, now + self._grace
        elif now - self._asked_at > ECHO_SECONDS:  # a terminal and a wrapper may pass on the same Ctrl-C
            self._deadline = now
        with contextlib.suppress(OSError):
            os.write(self._wake, b"!")

    def step(self, timeout: float = TICK_SECONDS) -> bool:
        """Wait for output or the timeout, then do what is due; False when all is over.

        This is for callers with a loop of their own, inside `with supervisor:`.
        """
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                os.read(self._woken, CHUNK_BYTES)
            else:
                self._pass_on(key.data)
        for child in self._children:
            if child.has_ended():
                self._bury(child)
        if self._deadline is None:
            self._start_what_is_due()
            return True
        return self._wind_down(self._deadline)

    def pids(self) -> dict[str, int]:
        """The running commands; each is the leader of its session and process group."""
        return {child.command.name: child.process.pid for child in self._children if child.process}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._on_line = lambda _name, _line: None  # it may be what failed, and the rest must still end
        self.stop()
        while self.step():
            pass
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    @contextlib.contextmanager
    def _obeying_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
            signals.append(signal.SIGHUP)
        before = {each: signal.signal(each, lambda *_: self.stop()) for each in signals}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _start_what_is_due(self) -> None:
        for child in self._children:
            if child.process is None and child.due <= time.monotonic():
                self._selector.register(child.start(), selectors.EVENT_READ, child)

    def _pass_on(self, child: Child) -> None:
        chunk = child.read()
        if not chunk:  # it closed its output, but may well live on
            self._selector.unregister(child.output)
        self._tell(child, child.lines.feed(chunk))

    def _tell(self, child: Child, lines: Sequence[str]) -> None:
        for line in lines:
            self._on_line(child.command.name, line)

    def _bury(self, child: Child) -> None:
        """End what the command left behind, pass on its last words, and decide on another life."""
        child.signal_group(signal.SIGKILL)
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.output)
        how, last_words = child.close()
        self._tell(child, last_words)
        if self._deadline is not None:
            return
        ends = child.count_end()
        if ends > self._restarts_per_minute:
            self._failure = f"{child.command.name} ended {ends} times within a minute, the last time {how}"
            self._tell(child, [f"ended {how}, {ends} times within a minute: giving up"])
            self.stop()
            return
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (ends - 1), LONGEST_PAUSE_SECONDS)
        child.due = time.monotonic() + pause
        self._tell(child, [f"ended {how}, starts again in {pause:.1f} s"])

    def _wind_down(self, deadline: float) -> bool:
        running = [child for child in self._children if child.process]
        for child in running:
            if time.monotonic() >= deadline:
                child.signal_group(signal.SIGKILL)
            else:
                child.terminate()
        return bool(running)


class Child:
    """One command, and the process that runs it at the moment."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.lines = Lines()
        self.due = 0.0
        self._is_told = False
        self._ends: deque[float] = deque()

    @property
    def output(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def start(self) -> int:
        """Start the command; returns the descriptor of its output."""
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *self.command.argv],
            env=self.command.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.set_blocking(self.output, False)
        return self.output

    def read(self) -> bytes:
        """Some of what the process wrote; nothing once its output is closed."""
        return os.read(self.output, CHUNK_BYTES)

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def terminate(self) -> None:
        """Tell the command, once, to end itself and its children."""
        assert self.process is not None
        if not self._is_told:
            self._is_told = True
            self.process.terminate()

    def signal_group(self, which: signal.Signals) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left
            os.killpg(self.process.pid, which)

    def close(self) -> tuple[str, list[str]]:
        """Forget the process, which has ended; returns how it did, and the lines that nobody has read yet."""
        assert self.process is not None
        assert self.process.stdout is not None
        last_words = []
        with self.process.stdout, contextlib.suppress(BlockingIOError):
            # A bounded number of times, should a process that got away still be writing.
            for _ in range(LAST_READS):
                last_words += self.lines.feed(self.read())
        last_words += self.lines.rest()
        code = self.process.wait()
        self.process = None
        how = f"with code {code}" if code >= 0 else f"by signal {-code} ({signal.strsignal(-code)})"
        return how, last_words

    def count_end(self) -> int:
        """How often it has ended within the last minute, this time included."""
        now = time.monotonic()
        self._ends.append(now)
        while self._ends[0] < now - MINUTE_SECONDS:
            self._ends.popleft()
        return len(self._ends)


class Lines:
    """Cuts a stream of bytes into lines; one that gets very long is cut without waiting for its end."""

    def __init__(self) -> None:
        self._unfinished = b""

    def feed(self, chunk: bytes) -> list[str]:
        *complete, self._unfinished = (self._unfinished + chunk).split(b"\n")
        if len(self._unfinished) >= CHUNK_BYTES:
            complete.append(self._unfinished)
            self._unfinished = b""
        return [_text(line) for line in complete]

    def rest(self) -> list[str]:
        """What came after the last end of a line, if anything did."""
        unfinished, self._unfinished = self._unfinished, b""
        return [_text(unfinished)] if unfinished else []


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")
