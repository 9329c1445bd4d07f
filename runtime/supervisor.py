"""Supervisor: keeps a few commands running, and leaves none of their processes behind."""

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
"""Called with the name of a command and a line of its output, without the line end."""


class KeepsEnding(SeatSyncError):
    """A command ended so often that it is not restarted any more."""

    code = "process_keeps_ending"


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and its name in the output. `env` is its whole environment, or None for this process's."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None


def prefixed(stream: TextIO, commands: Sequence[Command]) -> OnLine:
    """Return a callback that writes every line to the stream, after the name of its command."""
    width = max((len(command.name) for command in commands), default=0)

    def write(name: str, line: str) -> None:
        stream.write(f"{name:<{width}} | {line}\n")
        stream.flush()

    return write


class Supervisor:
    """Runs commands, each in a session of its own, and restarts those that end.

    Ctrl-C in a terminal reaches only this process, which then stops the commands in order. First it sends
    SIGTERM to each command but not to its children: SIGTERM to the children of a Celery worker would
    interrupt tasks. Then it sends SIGKILL to what is left of the process group, once the command has ended or
    after `grace` seconds. If this process is killed, Linux sends the commands SIGTERM.

    Everything runs in one thread, the callback too. The thread must live as long as the commands, because
    Linux takes its end for the end of their parent.
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
        self._stop_requested_at: float | None = None
        self._failure: str | None = None
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def run(self) -> None:
        """Run until a signal or `stop`. Raises `KeepsEnding` if a command ends too often."""
        with self._handling_signals(), self:
            while self.step():
                pass
        if self._failure:
            raise KeepsEnding(self._failure)

    def stop(self) -> None:
        """Stop, from any thread or signal handler. A second call kills what has not ended yet."""
        now = time.monotonic()
        if self._stop_requested_at is None:
            self._stop_requested_at, self._deadline = now, now + self._grace
        elif now - self._stop_requested_at > ECHO_SECONDS:  # a wrapper may repeat the terminal's Ctrl-C
            self._deadline = now
        with contextlib.suppress(OSError):
            os.write(self._wake, b"!")

    def step(self, timeout: float = TICK_SECONDS) -> bool:
        """Wait for output for up to `timeout` seconds, then start and stop what is due. False if all have
        ended.

        For callers with a loop of their own, inside `with supervisor:`.
        """
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                os.read(self._woken, CHUNK_BYTES)
            else:
                self._forward_output(key.data)
        for child in self._children:
            if child.has_ended():
                self._clean_up(child)
        if self._deadline is None:
            self._start_due()
            return True
        return self._stop_running(self._deadline)

    def pids(self) -> dict[str, int]:
        """The process ids of the running commands, by name. Each leads its session and process group."""
        return {child.command.name: child.process.pid for child in self._children if child.process}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # The callback may have raised the error, and must not do so again.
            self._on_line = lambda _name, _line: None
        self.stop()
        while self.step():
            pass
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is
            signals.append(signal.SIGHUP)
        before = {each: signal.signal(each, lambda *_: self.stop()) for each in signals}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and child.start_at <= time.monotonic():
                self._selector.register(child.start(), selectors.EVENT_READ, child)

    def _forward_output(self, child: Child) -> None:
        chunk = child.read()
        if not chunk:  # the output is closed, though the command may still run
            self._selector.unregister(child.output)
        self._emit(child, child.lines.feed(chunk))

    def _emit(self, child: Child, lines: Sequence[str]) -> None:
        for line in lines:
            self._on_line(child.command.name, line)

    def _clean_up(self, child: Child) -> None:
        """After a command has ended, kill the rest of its group, emit its last lines, schedule a restart."""
        child.signal_group(signal.SIGKILL)
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.output)
        how, last_lines = child.close()
        self._emit(child, last_lines)
        if self._deadline is not None:
            return
        ends = child.count_end()
        if ends > self._restarts_per_minute:
            self._failure = f"{child.command.name} ended {ends} times within a minute, the last time {how}"
            self._emit(child, [f"ended {how}, {ends} times within a minute: giving up"])
            self.stop()
            return
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (ends - 1), LONGEST_PAUSE_SECONDS)
        child.start_at = time.monotonic() + pause
        self._emit(child, [f"ended {how}, starts again in {pause:.1f} s"])

    def _stop_running(self, deadline: float) -> bool:
        """Stop the running commands; False if there are none."""
        running = [child for child in self._children if child.process]
        for child in running:
            if time.monotonic() >= deadline:
                child.signal_group(signal.SIGKILL)
            else:
                child.terminate()
        return bool(running)


class Child:
    """A command, and its present process if it runs."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.lines = Lines()
        self.start_at = 0.0
        self._is_terminated = False
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
        """A chunk of the output; empty once the output is closed."""
        return os.read(self.output, CHUNK_BYTES)

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def terminate(self) -> None:
        """Send SIGTERM to the command, once."""
        assert self.process is not None
        if not self._is_terminated:
            self._is_terminated = True
            self.process.terminate()

    def signal_group(self, which: signal.Signals) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left
            os.killpg(self.process.pid, which)

    def close(self) -> tuple[str, list[str]]:
        """Drop the ended process; return how it ended, and the lines that were not read yet."""
        assert self.process is not None
        assert self.process.stdout is not None
        last_lines = []
        with self.process.stdout, contextlib.suppress(BlockingIOError):
            # Bounded, because a child process that left the group may still be writing.
            for _ in range(LAST_READS):
                last_lines += self.lines.feed(self.read())
        last_lines += self.lines.rest()
        code = self.process.wait()
        self.process = None
        how = f"with code {code}" if code >= 0 else f"by signal {-code} ({signal.strsignal(-code)})"
        return how, last_lines

    def count_end(self) -> int:
        """Count this end; return how often the command has ended within the last minute."""
        now = time.monotonic()
        self._ends.append(now)
        while self._ends[0] < now - MINUTE_SECONDS:
            self._ends.popleft()
        return len(self._ends)


class Lines:
    """Splits a stream of bytes into lines. A very long line is split before its end."""

    def __init__(self) -> None:
        self._unfinished = b""

    def feed(self, chunk: bytes) -> list[str]:
        *complete, self._unfinished = (self._unfinished + chunk).split(b"\n")
        if len(self._unfinished) >= CHUNK_BYTES:
            complete.append(self._unfinished)
            self._unfinished = b""
        return [_text(line) for line in complete]

    def rest(self) -> list[str]:
        """The text after the last line end, if any."""
        unfinished, self._unfinished = self._unfinished, b""
        return [_text(unfinished)] if unfinished else []


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")
