from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

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


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "a home"
    yield home
    left = processes_of(home)
    for process in left:
        process.kill()
    assert left == []


@pytest.fixture
def given(home: Path, catalog_file: Path) -> dict[str, str]:
    """All that `up` has to be told; nothing answers at the provider's address."""
    return {
        "PATH": os.environ["PATH"],
        "DODO_PAYMENTS_API_KEY": "a-provider-key",
        "DODO_PAYMENTS_WEBHOOK_KEY": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "DODO_PAYMENTS_BASE_URL": "http://127.0.0.1:9",
        "SEATSYNC_CATALOG": str(catalog_file),
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
    assert f"Port {given['PORT']} is taken" in told.stderr
    assert not home.exists()


def test_up_keeps_its_data_over_kill_9_and_ends_cleanly(given: dict[str, str], home: Path) -> None:
    url = f"http://127.0.0.1:{given['PORT']}"
    ready = f"seatsync is ready on {url}"
    headers = {"Authorization": f"Bearer {KEY}"}

    first = Up(given)
    assert first.writes(ready), first.lines
    assert requests.put(f"{url}/v1/accounts/acme", headers=headers, timeout=5).status_code == 201
    first.process.send_signal(signal.SIGSTOP)  # or it would start anew what is killed before it
    for process in processes_of(home):
        process.kill()
    first.process.wait(PATIENCE_SECONDS)

    second = Up(given)
    assert second.writes(ready), second.lines
    assert requests.get(f"{url}/v1/accounts/acme/seats", headers=headers, timeout=5).status_code == 200
    assert second.end() == 0, second.lines
    assert processes_of(home) == []


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


def test_right_after_ready_the_doctor_finds_everybody_at_work(
    given: dict[str, str], home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "working folder"
    folder.mkdir()
    up = Up(given, folder)
    assert up.writes(f"seatsync is ready on http://127.0.0.1:{given['PORT']}"), up.lines
    told = subprocess.run(
        [SEATSYNC, "doctor", "--json"], env=given, capture_output=True, text=True, check=False
    )
    levels = {one["check"]: one["level"] for one in json.loads(told.stdout)["results"]}
    assert (levels["beat and worker"], levels["sweeper"]) == ("ok", "ok")
    assert told.stderr == f"Using the embedded database in {home / 'postgres'}.\n"
    assert up.end() == 0
    assert list(folder.iterdir()) == []
    assert not [line for line in up.lines if "Ctrl+C" in line or "superuser" in line or "Traceback" in line]


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
