from __future__ import annotations

import threading

import requests

from simulator.server import Simulator
from simulator.world import Settings
from tests.simulator.receiver import KEY, SECRET


def test_a_simulator_in_this_process_leaves_no_thread_behind():
    before = set(threading.enumerate())
    settings = Settings(webhook_url="http://127.0.0.1:1/", webhook_secret=SECRET, api_key=KEY)
    with Simulator(settings) as simulator, requests.Session() as session:
        assert session.get(f"{simulator.control_url}/knobs", timeout=5).ok
    assert set(threading.enumerate()) <= before


def test_two_simulators_do_not_know_each_other(simulator):
    settings = Settings(webhook_url="http://127.0.0.1:1/", webhook_secret=SECRET, api_key=KEY)
    with Simulator(settings) as other:
        other.world.open({}, silently=True)
        assert len(simulator.world.state) == 0
