from __future__ import annotations

import signal
import subprocess
import sys
import threading

import psutil
import pytest
import requests
from click.testing import CliRunner

from simulator.__main__ import main
from tests.simulator.receiver import KEY, SECRET

OPTIONS = ["--webhook-url", "http://127.0.0.1:1/", "--webhook-secret", SECRET, "--api-key", KEY]


def start(*options):
    return subprocess.Popen(
        [sys.executable, "-m", "simulator", *OPTIONS, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_leaves_nothing_behind(number, tmp_path):
    process = start("--port-file", str(tmp_path / "port"), "--play")
    line = process.stdout.readline().strip()
    url = f"http://127.0.0.1:{(tmp_path / 'port').read_text()}"
    assert line == f"simulator is ready on {url}"
    with requests.Session() as kept_alive:
        assert kept_alive.get(f"{url}/_control/knobs", timeout=5).ok
        assert psutil.Process(process.pid).children() == []
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "")


def test_it_stops_while_a_delivery_hangs(receiver):
    arrived, released = threading.Event(), threading.Event()
    receiver.on_delivery = lambda _delivery: (arrived.set(), released.wait(10))
    process = start("--webhook-url", receiver.url)
    url = process.stdout.readline().split()[-1]
    requests.post(f"{url}/_control/emit", json={"type": "any.thing"}, timeout=5)
    assert arrived.wait(5)
    process.terminate()
    process.communicate(timeout=5)
    released.set()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--webhook-url", "https://127.0.0.1/"], "webhook_url"),
        (["--webhook-secret", "whsec_?"], "secret"),
        (["--webhook-secret", "whsec_"], "empty"),
    ],
)
def test_wrong_options_are_told_in_one_line(options, word):
    result = CliRunner().invoke(main, [*OPTIONS, *options])
    assert result.exit_code == 1
    assert word in result.output
