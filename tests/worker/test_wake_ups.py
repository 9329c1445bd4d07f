"""Wake-ups are prompt, at most one per subscription, and may be lost without harm."""

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


class Broker:
    """Remembers what was published to it; `is_away` lets it fail."""

    def __init__(self) -> None:
        self.published: list[list[str]] = []
        self.is_away = threading.Event()
        self.has_failed = threading.Event()

    def publish(self, subscription_ids: Sequence[str]) -> None:
        if self.is_away.is_set():
            self.has_failed.set()
            raise ConnectionError
        self.published.append(list(subscription_ids))

    def names(self) -> list[str]:
        return [name for together in self.published for name in together]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_a_wake_up_is_published(broker: Broker):
    WakeUps(broker.publish).wake("sub_1")
    wait_until(lambda: broker.names() == ["sub_1"], "the wake-up is published")


def test_simultaneous_wake_ups_are_published_together_and_once_each(broker: Broker):
    wakes = WakeUps(broker.publish)
    for number in range(30):
        wakes.wake(f"sub_{number % 3}")
    wait_until(lambda: len(broker.names()) >= 3, "the wake-ups are published")
    assert sorted(broker.names()) == ["sub_0", "sub_1", "sub_2"]


def test_a_delayed_wake_up_is_published_after_its_delay(broker: Broker):
    started = time.monotonic()
    WakeUps(broker.publish).wake("sub_1", delay=0.3)
    wait_until(broker.names, "the wake-up is published")
    assert time.monotonic() - started >= 0.3


def test_an_earlier_wake_up_replaces_a_later_one(broker: Broker):
    wakes = WakeUps(broker.publish)
    wakes.wake("sub_1", delay=60)
    wakes.wake("sub_1")
    wait_until(lambda: broker.names() == ["sub_1"], "the wake-up is published at once")


def test_a_later_wake_up_does_not_replace_an_earlier_one(broker: Broker):
    wakes = WakeUps(broker.publish)
    wakes.wake("sub_1", delay=0.1)
    wakes.wake("sub_1", delay=60)
    wait_until(lambda: broker.names() == ["sub_1"], "the wake-up is published when the first was due")


def test_a_wake_up_that_was_replaced_is_not_published_again(broker: Broker):
    wakes = WakeUps(broker.publish)
    wakes.wake("sub_1", delay=0.3)
    wakes.wake("sub_1")
    wakes.wake("last", delay=0.6)
    wait_until(lambda: "last" in broker.names(), "all wake-ups are published")
    assert broker.names() == ["sub_1", "last"]


def test_wake_ups_are_published_in_the_order_in_which_they_are_due(broker: Broker):
    wakes = WakeUps(broker.publish)
    for name, delay in (("third", 0.5), ("first", 0.1), ("second", 0.3)):
        wakes.wake(name, delay)
    wait_until(lambda: len(broker.names()) == 3, "all wake-ups are published")
    assert broker.names() == ["first", "second", "third"]


def test_a_hung_broker_delays_no_caller():
    hung = threading.Event()
    wakes = WakeUps(lambda _ids: hung.wait(30))
    started = time.monotonic()
    for number in range(1000):
        wakes.wake(f"sub_{number}")
    assert time.monotonic() - started < 1
    hung.set()


def test_after_a_failure_later_wake_ups_are_published(broker: Broker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wake_ups, "_PAUSE_AFTER_FAILURE_SECONDS", 0.05)
    wakes = WakeUps(broker.publish)
    broker.is_away.set()
    wakes.wake("lost")
    assert broker.has_failed.wait(5)
    broker.is_away.clear()
    wakes.wake("published")
    wait_until(lambda: "published" in broker.names(), "the later wake-up is published")


def test_a_forked_process_publishes_its_own_wake_ups():
    read, write = os.pipe()
    wakes = WakeUps(lambda ids: os.write(write, b"!") and None)
    wakes.wake("in the parent")
    assert os.read(read, 1) == b"!"
    child = os.fork()
    if child == 0:
        wakes.wake("in the child")
        time.sleep(60)
        os._exit(0)
    try:
        os.set_blocking(read, False)
        wait_until(lambda: _arrived(read), "the child's wake-up is published")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _arrived(read: int) -> bool:
    try:
        return os.read(read, 1) == b"!"
    except BlockingIOError:
        return False
