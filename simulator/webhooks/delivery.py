"""Delivery of webhooks: signed POST requests by several threads, with the provider's retry schedule."""

from __future__ import annotations

import http.client
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from simulator.knobs import KnobBoard
from simulator.webhooks.events import Event
from simulator.webhooks.outbox import Attempt, Message, MessageState, Outbox
from simulator.webhooks.schedule import Schedule
from simulator.webhooks.sender import Sender
from simulator.webhooks.signing import Signer

RETRY_DELAYS = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
"""Seconds after the failure of the previous attempt. The first attempt is immediate."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt to deliver a message; `number` counts from 1. A copy is sent once, without effect on the
    state.
    """

    message: Message
    number: int = 1
    is_copy: bool = False


class Dispatcher:
    """Delivers messages according to the knobs. `read_body` gives the body of each attempt."""

    def __init__(
        self,
        *,
        board: KnobBoard,
        signer: Signer,
        read_body: Callable[[Event], bytes],
        seed: int,
        threads: int,
    ) -> None:
        self.outbox = Outbox()
        self._board = board
        self._signer = signer
        self._read_body = read_body
        self._seed = seed
        self._lock = threading.Lock()
        self._chance = random.Random(seed)
        self._schedule: Schedule[Job] = Schedule()
        self._senders = [Sender() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._work, args=(sender,), name=f"delivery-{number}", daemon=True)
            for number, sender in enumerate(self._senders)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop all threads at once and abort requests in progress."""
        self._schedule.close()
        for sender in self._senders:
            sender.cut()
        for thread in self._threads:
            thread.join()

    def reset(self) -> None:
        self._schedule.clear()
        self.outbox.forget()
        with self._lock:
            self._chance = random.Random(self._seed)

    def unfinished(self) -> int:
        """The number of attempts that are scheduled or in progress."""
        return self._schedule.unfinished()

    def post(self, message: Message) -> None:
        """Schedule a new message, which may be lost, delayed or repeated with the knobs' probabilities."""
        self.outbox.add(message)
        knobs = self._board.now
        if not knobs.webhooks_enabled:
            message.state = MessageState.STOPPED
            return
        with self._lock:
            is_lost = self._chance.random() < knobs.drop_probability
            is_repeated = self._chance.random() < knobs.repeat_probability
            copies = knobs.repeat_copies if is_repeated else 0
            delays = [
                knobs.delivery_latency_seconds + self._chance.uniform(0, knobs.reorder_window_seconds)
                for _ in range(1 + copies)
            ]
        if is_lost:
            message.state = MessageState.DROPPED
            return
        self._plan(Job(message), delays[0])
        for delay in delays[1:]:
            self._schedule.add(Job(message, is_copy=True), delay)

    def replay(self, message: Message) -> None:
        """Send the message again with the same id, from the start of the retry schedule."""
        message.state = MessageState.PENDING
        self._plan(Job(message), 0.0)

    def _plan(self, job: Job, delay: float) -> None:
        job.message.next_attempt_at = datetime.now(UTC) + timedelta(seconds=delay)
        self._schedule.add(job, delay)

    def _work(self, sender: Sender) -> None:
        while job := self._schedule.take():
            try:
                self._carry_out(job, sender)
            except Exception:
                log.exception("webhook delivery failed", extra={"webhook_id": job.message.webhook_id})
            finally:
                self._schedule.done()
        sender.close()

    def _carry_out(self, job: Job, sender: Sender) -> None:
        if not self._board.now.webhooks_enabled:
            self._settle(job, MessageState.STOPPED)
            return
        attempt = self._attempt(job, sender)
        job.message.attempts.append(attempt)
        if attempt.is_acknowledged:
            self._settle(job, MessageState.DELIVERED)
        elif job.number > len(RETRY_DELAYS):
            self._settle(job, MessageState.FAILED)
        elif not job.is_copy and self.outbox.holds(job.message):
            delay = RETRY_DELAYS[job.number - 1] / self._board.now.speed
            self._plan(replace(job, number=job.number + 1), delay)

    def _attempt(self, job: Job, sender: Sender) -> Attempt:
        knobs, message = self._board.now, job.message
        started, now = time.monotonic(), datetime.now(UTC)
        status, error = None, None
        try:
            body = self._read_body(message.event)
            headers = self._signer.headers(message.webhook_id, body, now)
            status = sender.post(knobs.webhook_url, body, headers, knobs.delivery_timeout_seconds)
        except (OSError, http.client.HTTPException) as problem:
            error = f"{type(problem).__name__}: {problem}"
        seconds = round(time.monotonic() - started, 6)
        return Attempt(at=now, seconds=seconds, status=status, error=error, is_copy=job.is_copy)

    def _settle(self, job: Job, state: MessageState) -> None:
        if not job.is_copy:
            job.message.state = state
            job.message.next_attempt_at = None
