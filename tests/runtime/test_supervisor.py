from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from runtime import supervisor as processes
from runtime.supervisor import Command, KeepsEnding, Supervisor
from tests.waiting import wait_until

PATIENCE = 10.0


def python(name: str, code: str) -> Command:
    return Command(name, [sys.executable, "-c", textwrap.dedent(code)])


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Output:
    """Collects the lines; says what to do when one of them is seen."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.on: dict[str, Callable[[], None]] = {}

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        for word, react in self.on.items():
            if word in line:
                react()

    def of(self, name: str) -> list[str]:
        return [line for each, line in self.lines if each == name]


SLEEPER = "import time; print('here', flush=True); time.sleep(600)"
DEAF = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print('here', flush=True)
    time.sleep(600)
"""
FAMILY = """
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    print(f'child {child.pid}', flush=True)
    time.sleep(600)
"""


@pytest.fixture
def output() -> Output:
    return Output()


def test_lines_arrive_whole_and_under_the_name_of_their_command(output: Output) -> None:
    wordy = python(
        "wordy",
        "import sys; print('one', flush=True); sys.stderr.write('two\\nthr'); sys.stderr.write('ee')",
    )
    supervisor = Supervisor([wordy, python("other", SLEEPER)], on_line=output)

    def stop_once_both_have_written() -> None:
        if "three" in output.of("wordy") and output.of("other"):
            supervisor.stop()

    output.on = {"three": stop_once_both_have_written, "here": stop_once_both_have_written}
    supervisor.run()
    assert output.of("wordy")[:3] == ["one", "two", "three"]
    assert output.of("other") == ["here"]


def test_prefixes_are_as_wide_as_the_longest_name(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [Command("web", ["true"]), Command("worker", ["true"])]
    write = processes.prefixed(sys.stdout, commands)
    write("web", "up")
    write("worker", "up")
    assert capsys.readouterr().out == "web    | up\nworker | up\n"


def test_a_very_long_line_is_passed_on_in_pieces(output: Output) -> None:
    long = python("long", "print('x' * 300_000); print('end')")
    supervisor = Supervisor([long], on_line=output)
    output.on["end"] = supervisor.stop
    supervisor.run()
    assert "".join(output.of("long")[:-1]).startswith("x" * 300_000)


def test_a_stop_leaves_no_process_behind(output: Output) -> None:
    supervisor = Supervisor([python("one", SLEEPER), python("two", FAMILY)], on_line=output)
    seen: list[int] = []

    def look() -> None:
        seen.extend(supervisor.pids().values())
        seen.extend(int(line.removeprefix("child ")) for line in output.of("two"))
        supervisor.stop()

    output.on["child"] = look
    supervisor.run()
    assert len(seen) == 3
    wait_until(lambda: all(is_gone(pid) for pid in seen), "all are gone")


def test_grandchildren_of_a_command_that_was_killed_die_before_it_starts_again(output: Output) -> None:
    supervisor = Supervisor([python("family", FAMILY)], on_line=output)

    def kill_or_stop() -> None:
        if len(output.of("family")) == 1:
            os.kill(supervisor.pids()["family"], signal.SIGKILL)
        else:
            supervisor.stop()

    output.on["child"] = kill_or_stop
    supervisor.run()
    first, second = (int(line.split()[1]) for line in output.of("family") if line.startswith("child"))
    assert first != second
    wait_until(lambda: is_gone(first) and is_gone(second), "it is gone")


def test_a_command_that_ends_starts_again_and_says_why(output: Output) -> None:
    supervisor = Supervisor([python("brief", "print('here'); raise SystemExit(3)")], on_line=output)
    output.on["here"] = lambda: supervisor.stop() if output.of("brief").count("here") == 2 else None
    supervisor.run()
    assert "ended with code 3, starts again in 0.5 s" in output.of("brief")


def test_a_command_that_keeps_ending_stops_everything_with_a_message(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE_SECONDS", 0.01)
    commands = [python("broken", "raise SystemExit(1)"), python("fine", SLEEPER)]
    with pytest.raises(KeepsEnding, match="broken ended 3 times within a minute, the last time with code 1"):
        Supervisor(commands, on_line=output, restarts_per_minute=2).run()


def test_a_program_that_is_missing_is_named(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE_SECONDS", 0.01)
    with pytest.raises(KeepsEnding):
        Supervisor([Command("odd", ["no-such-program"])], on_line=output, restarts_per_minute=0).run()
    assert "no-such-program cannot be run: No such file or directory" in output.of("odd")


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(output: Output) -> None:
    supervisor = Supervisor([python("deaf", DEAF)], on_line=output, grace=0.3)
    output.on["here"] = supervisor.stop
    began = time.monotonic()
    supervisor.run()
    assert 0.3 < time.monotonic() - began < PATIENCE


def test_a_second_stop_kills_at_once(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ECHO_SECONDS", 0.1)
    supervisor = Supervisor([python("deaf", DEAF)], on_line=output, grace=600)
    again = threading.Timer(0.5, supervisor.stop)
    output.on["here"] = lambda: (supervisor.stop(), again.start())
    supervisor.run()
    again.join()


def test_one_ctrl_c_that_arrives_twice_is_one_stop(output: Output) -> None:
    polite = """
        import signal, sys, time
        def end(*_):
            time.sleep(0.3)
            sys.exit(print('goodbye'))
        signal.signal(signal.SIGTERM, end)
        print('here', flush=True)
        time.sleep(600)
    """
    supervisor = Supervisor([python("polite", polite)], on_line=output)
    output.on["here"] = lambda: (supervisor.stop(), supervisor.stop())
    supervisor.run()
    assert output.of("polite") == ["here", "goodbye"]


def test_a_failing_callback_still_ends_the_commands() -> None:
    def fail(_name: str, _line: str) -> None:
        pids.extend(supervisor.pids().values())
        raise BrokenPipeError

    pids: list[int] = []
    supervisor = Supervisor([python("one", SLEEPER)], on_line=fail)
    with pytest.raises(BrokenPipeError):
        supervisor.run()
    assert pids
    assert all(is_gone(pid) for pid in pids)


def test_a_command_that_closes_its_output_causes_no_busy_loop(output: Output) -> None:
    silent = python("silent", "import os, time; os.close(1); os.close(2); time.sleep(600)")
    with Supervisor([silent], on_line=output) as supervisor:
        steps = 0
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            supervisor.step()
            steps += 1
    assert steps < 30


PROGRAM = f"""
import sys
from runtime.supervisor import Command, Supervisor
child = {textwrap.dedent(FAMILY)!r}
Supervisor([Command("family", [sys.executable, "-c", child])]).run()
"""


def supervising_program() -> tuple[subprocess.Popen[str], list[int]]:
    """A supervisor in a process of its own, as `seatsync up` is; the pids of its child and grandchild."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert program.stdout is not None
    grandchild = int(program.stdout.readline().split()[-1])
    parent = psutil.Process(grandchild).parent()
    assert parent is not None
    return program, [parent.pid, grandchild]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_program_in_good_order(how: signal.Signals) -> None:
    program, family = supervising_program()
    with program:
        # To the whole group, as a terminal does it.
        os.killpg(program.pid, how)
        assert program.wait(PATIENCE) == 0
    wait_until(lambda: all(is_gone(pid) for pid in family), "all are gone")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
def test_the_commands_of_a_killed_supervisor_end() -> None:
    program, (child, grandchild) = supervising_program()
    with program:
        program.kill()
    wait_until(lambda: is_gone(child), "it is gone")
    os.kill(grandchild, signal.SIGKILL)  # this one has a parent that did not look after it
