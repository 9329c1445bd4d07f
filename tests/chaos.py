"""`python -m tests.chaos`: everything fails while thousands of webhooks arrive; then the result is checked.

Customers of a simulated business change their subscriptions. A fifth of the webhooks are repeated, all are
reordered, a tenth are never sent, and a fifth of the provider's API calls fail: 500, 429, or no answer in
time. Meanwhile processes and servers are killed. When the last fault is over, the service has to converge.
"""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import click
import requests
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from runtime.embedded import PostgresServer, RedisServer
from runtime.embedded.server import Server
from tests.audit_replay import assert_audit_matches_the_tables
from tests.factories import CATALOG_TEXT
from tests.stack import Stack
from tests.waiting import wait_until

INCLUDED: Final = 5
CONVERGES_IN: Final = 180.0  # seconds of a quiet machine; the report says how long it took

DISORDER: Final = {
    "speed": 300,  # the provider's retries come within seconds, not hours
    "repeat_probability": 0.2,
    "reorder_window_seconds": 3.0,
    "drop_probability": 0.1,
    "api_500_probability": 0.07,
    "api_429_probability": 0.07,
    "api_hang_probability": 0.07,
    "api_hang_seconds": 8.0,  # longer than the service waits for an answer
}
ORDER: Final = dict.fromkeys((name for name in DISORDER if name.endswith("probability")), 0.0)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many webhooks, customers and faults, and over how many seconds they are spread."""

    deliveries: int
    subscriptions: int
    seconds: float
    faults: Mapping[str, int]
    seed: int = 0


FULL: Final = Plan(
    deliveries=10_000,
    subscriptions=400,
    seconds=240,
    faults={
        "worker killed": 5,
        "worker child killed": 1,
        "web killed": 2,
        "beat killed": 1,
        "Redis restarted empty": 2,
        "PostgreSQL stopped at once": 1,
    },
)


@dataclass(frozen=True, slots=True)
class Report:
    """What happened. `results` counts the acknowledged webhooks by what became of them; `wrong` says in words
    what is not as it should be.
    """

    posted: int
    dropped: int
    acknowledged: int
    failed_attempts: int
    repeats: int
    results: Mapping[str, int]
    calls: int
    failed_calls: Mapping[str, int]
    retrieves: int
    seconds_of_chaos: float
    seconds_to_converge: float
    wrong: Sequence[str]

    def lines(self) -> Iterator[str]:
        results, failures = _listed(self.results), _listed(self.failed_calls)
        yield f"webhooks: {self.posted:,}, of which {self.dropped:,} were never sent"
        yield f"acknowledged: {self.acknowledged:,} ({results}); {self.repeats:,} repeats"
        yield f"attempts that failed: {self.failed_attempts:,}"
        yield f"provider calls: {self.calls:,}, of which {self.retrieves:,} retrieves; failed: {failures}"
        yield f"chaos lasted {self.seconds_of_chaos:.0f} s"
        yield f"converged {self.seconds_to_converge:.1f} s after the last fault"
        yield from (f"WRONG: {one}" for one in self.wrong)
        if not self.wrong:
            yield "every account equals the provider, the audit is whole, nothing acknowledged is lost"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


@dataclass
class Customers:
    """They change their subscriptions from a thread, until so many webhooks were posted."""

    stack: Stack
    plan: Plan
    chance: Random
    statuses: dict[str, str] = field(default_factory=dict)
    failure: BaseException | None = None

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="customers")
        thread.start()
        return thread

    def posted(self) -> int:
        return sum(self.stack.simulator.world.dispatcher.outbox.counts().values())

    def progress(self) -> float:
        """From 0 to 1. Raises what stopped the customers."""
        if self.failure is not None:
            raise self.failure
        return self.posted() / self.plan.deliveries

    def _run(self) -> None:
        try:
            began = time.monotonic()
            while (posted := self.posted()) < self.plan.deliveries:
                due_at = began + self.plan.seconds * posted / self.plan.deliveries
                time.sleep(max(due_at - time.monotonic(), 0))
                self._change_something()
            self._end_pauses()
        except BaseException as error:  # noqa: BLE001  raised in the main thread
            self.failure = error

    def _change_something(self) -> None:
        if len(self.statuses) < self.plan.subscriptions and self.chance.random() < 0.5:
            self._subscribe()
        elif self.chance.random() < 0.02:
            self._send_noise()
        elif self.statuses:
            self._change(self.chance.choice(list(self.statuses)))

    def _subscribe(self) -> None:
        account = f"account-{len(self.statuses)}"
        made = self.stack.subscribe(account, seats=self.chance.randint(0, 20))
        self.statuses[made] = "active"

    def _send_noise(self) -> None:
        """A webhook that is not about seats, or one that cannot be read."""
        event = self.chance.choice(
            [{"type": "license_key.created"}, {"type": "subscription.updated", "raw": "{"}]
        )
        self.stack.control("POST", "/emit", event)

    def _change(self, subscription_id: str) -> None:
        status = self.statuses[subscription_id]
        if status == "paused":
            self._act(subscription_id, "unpause", "active")
        elif status == "active":
            what = self.chance.choices(["cart", "touch", "pause", "cancel"], [80, 10, 8, 2])[0]
            if what == "cart":
                self.stack.buy(subscription_id, self.chance.randint(0, 20))
            else:
                becomes = {"pause": "paused", "cancel": "cancelled"}.get(what, "active")
                self._act(subscription_id, what, becomes)

    def _end_pauses(self) -> None:
        """What was bought just before a pause counts for sure after it only, see `paid_seats`."""
        for subscription_id, status in self.statuses.items():
            if status == "paused":
                self._act(subscription_id, "unpause", "active")

    def _act(self, subscription_id: str, action: str, becomes: str) -> None:
        self.stack.control("POST", f"/subscriptions/{subscription_id}/{action}")
        self.statuses[subscription_id] = becomes


@dataclass(frozen=True)
class Chaos:
    """The service, its servers, and what can be done to them."""

    stack: Stack
    postgres: PostgresServer
    redis: RedisServer

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Chaos]:
        """The service on a PostgreSQL and a Redis of its own; Redis keeps nothing when it ends."""
        catalog = folder / "catalog.toml"
        catalog.write_text(CATALOG_TEXT, encoding="utf-8")
        with (
            PostgresServer(folder, durable=True) as postgres,
            RedisServer(folder, durable=False) as redis,
            Stack(
                folder,
                database_url=postgres.create_database("chaos"),
                redis_url=redis.url,
                catalog=catalog,
                SEATSYNC_RECONCILE_SECONDS="10",
            ) as stack,
        ):
            stack.start()
            yield cls(stack, postgres, redis)

    def faults(self) -> Mapping[str, Callable[[], None]]:
        return {
            "worker killed": lambda: self._kill("worker"),
            "worker child killed": self._kill_worker_child,
            "web killed": lambda: self._kill("web"),
            "beat killed": lambda: self._kill("beat"),
            "Redis restarted empty": lambda: self._restart(self.redis, signal.SIGKILL),
            "PostgreSQL stopped at once": lambda: self._restart(self.postgres, signal.SIGQUIT),
        }

    def _kill(self, name: str) -> None:
        wait_until(lambda: self.stack.processes(name), f"{name} runs", self.stack.log)
        self.stack.kill(name)

    def _kill_worker_child(self) -> None:
        def kill_one() -> bool:
            children = self.stack.children("worker")
            for child in children[:1]:
                child.kill()
            return bool(children)

        wait_until(kill_one, "the worker has a child", self.stack.log)

    def _restart(self, server: Server, how: signal.Signals) -> None:
        server.kill(how)
        time.sleep(1)
        server.start()


def run(chaos: Chaos, plan: Plan) -> Report:
    """Let everything fail as planned, wait until the service has converged, and check the result.

    Raises AssertionError if it does not converge.
    """
    stack, began = chaos.stack, time.monotonic()
    chance = Random(plan.seed)
    todo = [name for name, count in plan.faults.items() for _ in range(count)]
    chance.shuffle(todo)
    stack.turn(**DISORDER)
    customers = Customers(stack, plan, chance)
    thread = customers.start()
    for number, name in enumerate(todo, start=1):
        wait_until(
            lambda number=number: customers.progress() >= number / (len(todo) + 1),
            "the next fault is due",
            stack.log,
            seconds=3600,
        )
        log.info("%4.0f s: %s", time.monotonic() - began, name)
        chaos.faults()[name]()
    thread.join()
    customers.progress()
    stack.turn(**ORDER)
    lasted = time.monotonic() - began
    log.info("%4.0f s: the last fault is over", lasted)
    engine = create_engine(stack.environment["DATABASE_URL"])
    try:
        wait_until(
            lambda: not _pending(engine) and not differences(stack),
            "all is right",
            stack.log,
            seconds=CONVERGES_IN,
        )
        converged = time.monotonic() - began - lasted
        wait_until(lambda: not stack.simulator.world.dispatcher.unfinished(), "all is sent", stack.log)
        wait_until(lambda: not _pending(engine), "the rest is done", stack.log)
        return _report(chaos, engine, lasted, converged)
    finally:
        engine.dispose()


def differences(stack: Stack) -> Sequence[str]:
    """The accounts that do not show what the provider holds for them, in words."""
    found = []
    for one in stack.control("GET", "/subscriptions?page_size=1000000")["items"]:
        account_id = one["metadata"]["account_id"]
        try:
            shown = stack.seats(account_id)
        except requests.RequestException:
            return ["the web process does not answer"]
        seats = shown.get("seats", {}).get("full", {}).get("purchased")
        ours = (shown.get("status"), seats, shown.get("stale"))
        if ours != (theirs := _expected(one)):
            found.append(f"{account_id} shows {ours} instead of {theirs}")
    return found


def _expected(subscription: Mapping[str, Any]) -> tuple[str, int, bool]:
    """The status, the seats and `stale` that the account of the subscription should show."""
    if subscription["status"] == "cancelled":
        return ("ended", 0, False)
    return ("ok", INCLUDED + sum(addon["quantity"] for addon in subscription["addons"]), False)


def _pending(engine: Engine) -> int:
    """Webhooks and subscriptions that still wait for a sync."""
    query = """
        SELECT (SELECT count(*) FROM inbox WHERE state = 'pending')
             + (SELECT count(*) FROM subscriptions WHERE hint > synced AND dead_reason IS NULL)
    """
    with engine.connect() as connection:
        return connection.scalar(text(query)) or 0


def _report(chaos: Chaos, engine: Engine, lasted: float, converged: float) -> Report:
    stack = chaos.stack
    messages = stack.deliveries(limit=1_000_000)
    attempts = [attempt for message in messages for attempt in message["attempts"]]
    acknowledged = {
        message["webhook_id"] for message in messages if any(map(_is_acknowledged, message["attempts"]))
    }
    calls = stack.control("GET", "/requests?limit=0")
    kept = _inbox(engine)
    return Report(
        posted=len(messages),
        dropped=sum(message["state"] == "dropped" for message in messages),
        acknowledged=len(acknowledged),
        failed_attempts=sum(not _is_acknowledged(one) for one in attempts),
        repeats=sum(map(_is_acknowledged, attempts)) - len(acknowledged),
        results=Counter(kept.get(one, "lost") for one in acknowledged),
        calls=calls["total"],
        failed_calls=calls["faults"],
        retrieves=stack.retrieves(),
        seconds_of_chaos=lasted,
        seconds_to_converge=converged,
        wrong=[*_lost(acknowledged, kept), *_mended_by_replay(stack, engine), *_audit_faults(stack, engine)],
    )


def _is_acknowledged(attempt: Mapping[str, Any]) -> bool:
    return attempt["status"] is not None and 200 <= attempt["status"] < 300


def _inbox(engine: Engine) -> Mapping[str, str]:
    """The state of each stored webhook; a dead or ignored one has a reason, the schema sees to that."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT event_id, state FROM inbox")).all()
    return {row.event_id: row.state for row in rows}


def _lost(acknowledged: set[str], kept: Mapping[str, str]) -> Iterator[str]:
    yield from (f"{one} was acknowledged and is lost" for one in sorted(acknowledged - kept.keys()))
    yield from (f"{one} is still pending" for one in sorted(kept) if kept[one] == "pending")


def _mended_by_replay(stack: Stack, engine: Engine) -> Iterator[str]:
    """Dead letters that were no dead letters: a replay makes something else of them."""
    before = _inbox(engine)
    stack.run_command("replay", "--all")
    wait_until(lambda: not _pending(engine), "the replayed ones are done", stack.log)
    after = _inbox(engine)
    for one in sorted(before):
        if before[one] == "dead" != after[one]:
            yield f"{one} was dead, and a replay made it {after[one]}"


def _audit_faults(stack: Stack, engine: Engine) -> Iterator[str]:
    verified = stack.run_command("audit", "verify")
    if verified.returncode != 0:
        yield from verified.stdout.splitlines()
    with Session(engine) as session:
        try:
            assert_audit_matches_the_tables(session)
        except AssertionError as error:
            yield f"the audit does not replay to the present state: {error}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--deliveries", default=FULL.deliveries, show_default=True)
@click.option("--seed", default=FULL.seed, show_default=True, help="Another seed is another run.")
def main(deliveries: int, seed: int) -> None:
    """Kill, restart and disturb everything while webhooks arrive, and check what comes of it.

    Exit code: 0 everything is right, 1 something is wrong.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    with (
        tempfile.TemporaryDirectory(prefix="seatsync-chaos-") as folder,
        Chaos.running(Path(folder)) as chaos,
    ):
        report = run(chaos, replace(FULL, deliveries=deliveries, seed=seed))
    click.echo("\n".join(report.lines()))
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
