"""The wake_ups: prompt, coalesced, and of no consequence when nobody hears it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence

import pytest

from tests.waiting import wait_until
from worker import wake_ups
from worker.wake_ups import WakeUps


class Hall:
    """Where the bell is heard."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        self.deaf = threading.Event()
        self.was_deaf_to_one = threading.Event()

    def publish(self, subscription_ids: Sequence[str]) -> None:
        if self.deaf.is_set():
            self.was_deaf_to_one.set()
            raise ConnectionError
        self.heard.append(list(subscription_ids))

    def names(self) -> list[str]:
        return [name for together in self.heard for name in together]


@pytest.fixture
def hall() -> Hall:
    return Hall()


def test_a_ring_is_heard(hall: Hall):
    WakeUps(hall.publish).ring("sub_1")
    wait_until(lambda: hall.names() == ["sub_1"], "the ring is heard")


def test_rings_of_one_moment_travel_together_and_once_each(hall: Hall):
    bell = WakeUps(hall.publish)
    for number in range(30):
        bell.ring(f"sub_{number % 3}")
    wait_until(lambda: len(hall.names()) >= 3, "the rings are heard")
    assert sorted(hall.names()) == ["sub_0", "sub_1", "sub_2"]


def test_a_delayed_ring_waits_its_time(hall: Hall):
    started = time.monotonic()
    WakeUps(hall.publish).ring("sub_1", delay=0.3)
    wait_until(hall.names, "the ring is heard")
    assert time.monotonic() - started >= 0.3


def test_an_earlier_ring_replaces_a_later_one(hall: Hall):
    bell = WakeUps(hall.publish)
    bell.ring("sub_1", delay=60)
    bell.ring("sub_1")
    wait_until(lambda: hall.names() == ["sub_1"], "the ring is heard at once")


def test_ringing_never_waits_for_a_hung_broker():
    hung = threading.Event()
    bell = WakeUps(lambda _ids: hung.wait(30))
    started = time.monotonic()
    for number in range(1000):
        bell.ring(f"sub_{number}")
    assert time.monotonic() - started < 1
    hung.set()


def test_after_a_failure_later_rings_are_heard(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wake_ups, "_REST_AFTER_FAILURE", 0.05)
    bell = WakeUps(hall.publish)
    hall.deaf.set()
    bell.ring("lost")
    assert hall.was_deaf_to_one.wait(5)
    hall.deaf.clear()
    bell.ring("heard")
    wait_until(lambda: "heard" in hall.names(), "the later ring is heard")


def test_a_forked_process_rings_for_itself():
    read, write = os.pipe()
    bell = WakeUps(lambda ids: os.write(write, b"!") and None)
    bell.ring("in the parent")
    assert os.read(read, 1) == b"!"
    child = os.fork()
    if child == 0:
        bell.ring("in the child")
        time.sleep(60)
        os._exit(0)
    try:
        os.set_blocking(read, False)
        wait_until(lambda: _arrived(read), "the child's ring is heard")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _arrived(read: int) -> bool:
    try:
        return os.read(read, 1) == b"!"
    except BlockingIOError:
        return False
