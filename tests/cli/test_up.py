from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from tests.factories import CATALOG_TEXT
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.long(seconds=15)

SEATSYNC = Path(sys.executable).with_name("seatsync")
BACK_SECONDS = 15.0
KEY = "a-bootstrap-key-for-tests"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of(home: Path) -> list[psutil.Process]:
    """Whoever was started with this home, or works on the data in it."""
    return [each for each in psutil.process_iter() if str(home) in told_of(each)]


def told_of(process: psutil.Process) -> str:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return " ".join([*process.cmdline(), *process.environ().values()])
    except psutil.Error:
        return ""


class Up:
    """`seatsync up` in a session of its own, and what it has written so far."""

    def __init__(self, environment: dict[str, str], folder: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [SEATSYNC, "up"],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(line.rstrip("\n") for line in output)

    def writes(self, line: str) -> bool:
        """Whether the line comes before the end of the process."""
        wait_until(lambda: line in self.lines or not self._reader.is_alive(), f"it writes {line}")
        return line in self.lines

    def end(self) -> int:
        self.process.terminate()
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code


@contextmanager
def nothing_left_of(home: Path) -> Iterator[None]:
    """Ends what is left of a home's processes; that there is any is a failure."""
    yield
    left = processes_of(home)
    for process in left:
        process.kill()
    assert left == []


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "a home"
    with nothing_left_of(home):
        yield home


@pytest.fixture
def given(home: Path, catalog_file: Path) -> dict[str, str]:
    return given_to_up(home, catalog_file)


def given_to_up(home: Path, catalog: Path) -> dict[str, str]:
    """All that `up` has to be told; nothing answers at the provider's address."""
    return {
        "PATH": os.environ["PATH"],
        "DODO_PAYMENTS_API_KEY": "a-provider-key",
        "DODO_PAYMENTS_WEBHOOK_KEY": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "DODO_PAYMENTS_BASE_URL": "http://127.0.0.1:9",
        "SEATSYNC_CATALOG": str(catalog),
        "SEATSYNC_API_KEY": KEY,
        "SEATSYNC_HOME": str(home),
        "PORT": str(free_port()),
    }


def run_up(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SEATSYNC, "up"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_up_names_every_variable_that_is_missing_and_exits_with_2(tmp_path: Path) -> None:
    told = run_up({"PATH": os.environ["PATH"], "SEATSYNC_HOME": str(tmp_path)})
    assert told.returncode == 2
    for name in ("DODO_PAYMENTS_API_KEY", "DODO_PAYMENTS_WEBHOOK_KEY", "SEATSYNC_CATALOG"):
        assert f"{name}: is not set" in told.stderr
    assert "Traceback" not in told.stderr


def test_up_says_that_its_port_is_taken_before_it_starts_anything(given: dict[str, str], home: Path) -> None:
    with socket.create_server(("127.0.0.1", int(given["PORT"]))):
        told = run_up(given)
    assert told.returncode == 2
    assert f"Port {given['PORT']} is in use" in told.stderr
    assert not home.exists()


@dataclass
class TwoRuns:
    """What was seen of `up` killed by kill -9, and of the same started again and ended."""

    home: Path
    folder: Path
    doctor: subprocess.CompletedProcess[str]
    opened: int
    """The status of an account opened before the kill."""
    read: int
    """The status of the same account read after it."""
    code: int
    left: list[psutil.Process]
    lines: list[str]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRuns]:
    base = tmp_path_factory.mktemp("two runs")
    home, folder = base / "a home", base / "working folder"
    folder.mkdir()
    catalog = base / "catalog.toml"
    catalog.write_text(CATALOG_TEXT, encoding="utf-8")
    with nothing_left_of(home):
        yield play_two_runs(home, folder, given_to_up(home, catalog))


def play_two_runs(home: Path, folder: Path, environment: dict[str, str]) -> TwoRuns:
    url = f"http://127.0.0.1:{environment['PORT']}"
    ready = f"seatsync is ready on {url}"
    headers = {"Authorization": f"Bearer {KEY}"}

    first = Up(environment, folder)
    assert first.writes(ready), first.lines
    doctor = subprocess.run(
        [SEATSYNC, "doctor", "--json"], env=environment, capture_output=True, text=True, check=False
    )
    opened = requests.put(f"{url}/v1/accounts/acme", headers=headers, timeout=5).status_code
    first.process.send_signal(signal.SIGSTOP)  # or it would start anew what is killed before it
    for process in processes_of(home):
        process.kill()
    first.process.wait(PATIENCE_SECONDS)

    second = Up(environment, folder)
    assert second.writes(ready), second.lines
    read = requests.get(f"{url}/v1/accounts/acme/seats", headers=headers, timeout=5).status_code
    code = second.end()
    return TwoRuns(
        home, folder, doctor, opened, read, code, processes_of(home), [*first.lines, *second.lines]
    )


def test_up_keeps_its_data_over_kill_9_and_ends_cleanly(two_runs: TwoRuns) -> None:
    assert (two_runs.opened, two_runs.read) == (201, 200)
    assert two_runs.code == 0, two_runs.lines
    assert two_runs.left == []


def test_right_after_ready_the_doctor_finds_everybody_at_work(two_runs: TwoRuns) -> None:
    levels = {one["check"]: one["level"] for one in json.loads(two_runs.doctor.stdout)["results"]}
    assert (levels["beat and worker"], levels["sweeper"]) == ("ok", "ok")
    assert two_runs.doctor.stderr == f"Using the embedded database in {two_runs.home / 'postgres'}.\n"
    assert list(two_runs.folder.iterdir()) == []
    noise = ("Ctrl+C", "superuser", "Traceback")
    assert [line for line in two_runs.lines if any(word in line for word in noise)] == []


def server_of(home: Path, program: str) -> psutil.Process:
    """The one process of an embedded server that is nobody's child but its guard's."""
    (found,) = [
        each
        for each in processes_of(home)
        if Path(each.cmdline()[0]).name == program and each.parent().cmdline()[:1] != each.cmdline()[:1]
    ]
    return found


def kill(process: psutil.Process) -> None:
    process.kill()
    process.wait(PATIENCE_SECONDS)


def test_up_starts_its_servers_again_when_they_are_killed_and_loses_nothing(
    given: dict[str, str], home: Path
) -> None:
    url = f"http://127.0.0.1:{given['PORT']}"
    up = Up(given)
    assert up.writes(f"seatsync is ready on {url}"), up.lines
    answers = requests.Session()
    answers.headers["Authorization"] = f"Bearer {KEY}"

    def answer(path: str) -> dict[str, str]:
        try:
            return answers.get(f"{url}{path}", timeout=5).json()
        except requests.RequestException:
            return {}

    def all_is_back() -> bool:
        account = answer("/v1/accounts/acme/seats").get("account_id")
        return account == "acme" and answer("/readyz").get("status") == "ready"

    assert answers.put(f"{url}/v1/accounts/acme", timeout=5).status_code == 201
    kill(server_of(home, "redis-server"))
    wait_until(lambda: answer("/readyz").get("broker") == "ok", "Redis is back", seconds=BACK_SECONDS)
    kill(server_of(home, "postgres"))
    wait_until(all_is_back, "all is back", seconds=BACK_SECONDS)
    answers.close()
    assert up.end() == 0, up.lines
    assert processes_of(home) == []


@pytest.mark.parametrize("command", ["up", "migrate"])
def test_ctrl_c_while_servers_are_created_leaves_nothing_behind(
    given: dict[str, str], home: Path, command: str
) -> None:
    started = subprocess.Popen([SEATSYNC, command], env=given, stderr=subprocess.PIPE, text=True)
    wait_until((home / "postgres" / "lock").exists, "a server is being created")
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=PATIENCE_SECONDS)
    assert (started.returncode, told.splitlines()[-1]) == (130, "Interrupted.")
    assert "Traceback" not in told
    wait_until(lambda: processes_of(home) == [], "nothing is left of the servers")
