"""`python -m tests.backlog`: after an outage, thousands of subscriptions are due, and the provider allows few
requests. Meanwhile somebody presses "sync".

Both the service and the simulated provider use the default allowance, 40 requests a second and 240 a minute,
made faster by a factor: 240 requests in a minute become 240 in six seconds.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final

import click
import requests
from sqlalchemy import Engine, create_engine, text

from runtime.embedded import PostgresServer, RedisServer
from simulator.billing.subscription import AddonUnits
from tests.factories import CATALOG_TEXT
from tests.stack import Stack, cart
from tests.waiting import Pace, wait_until

PER_SECOND, PER_MINUTE = 40, 240  # the provider's default allowance
INCLUDED, BEFORE, AFTER = 5, 3, 7
PREFIX: Final = "team"

LONGEST_WAIT: Final = 3.0
"""Seconds that somebody who presses "sync" may wait, whatever the backlog."""

MOST_GROWTH: Final = 1.1
"""How many times the memory of a process may be at the end what it was at a quarter of the backlog."""

_PRESSED_EVERY: Final = 1.0
_LONGEST_SECONDS: Final = 7200.0
_PROCESSES: Final = ("web", "worker", "sweeper")

# All rows are copies, with other ids, of the first subscription, which the service synced itself. They failed
# several times, and a webhook about each has been pending for an hour.
_COPY_ACCOUNTS: Final = """
    INSERT INTO accounts SELECT copy.* FROM accounts AS model
    CROSS JOIN generate_series(1, :others) AS number
    CROSS JOIN LATERAL jsonb_populate_record(
        model, jsonb_build_object('id', :prefix || '-' || number)) AS copy
"""
_COPY_SUBSCRIPTIONS: Final = """
    INSERT INTO subscriptions SELECT copy.* FROM subscriptions AS model
    CROSS JOIN unnest(cast(:ids AS text[])) WITH ORDINALITY AS wanted (id, number)
    CROSS JOIN LATERAL jsonb_populate_record(model, jsonb_build_object(
        'id', wanted.id,
        'account_id', :prefix || '-' || number,
        'snapshot', model.snapshot || jsonb_build_object(
            'subscription_id', wanted.id,
            'metadata', jsonb_build_object('account_id', :prefix || '-' || number)),
        'hint', model.hint + 1,
        'attempts', 8,
        'next_at', now() + random() * interval '10 seconds',
        'last_error', 'The provider does not answer.')) AS copy
"""
_ADD_WEBHOOKS: Final = """
    INSERT INTO inbox (provider, event_id, type, subscription_id, occurred_at, received_at, state, body)
    SELECT model.provider, 'backlog_' || wanted.id, model.type, wanted.id,
        now() - interval '1 hour', now() - interval '1 hour', 'pending', convert_to(
        replace(replace(convert_from(model.body, 'UTF8'), :first, wanted.id),
                '"' || :prefix || '-0"', '"' || :prefix || '-' || number || '"'), 'UTF8')
    FROM (SELECT * FROM inbox WHERE subscription_id = :first ORDER BY id DESC LIMIT 1) AS model
    CROSS JOIN unnest(cast(:ids AS text[])) WITH ORDINALITY AS wanted (id, number)
"""
_LEFT: Final = "SELECT count(*) FROM subscriptions WHERE hint > synced"
_WRONG: Final = """
    SELECT count(*) FROM subscriptions
    WHERE dead_reason IS NOT NULL OR unverified IS NOT NULL
       OR seats #> '{full,addon}' <> to_jsonb(cast(:seats AS int))
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many subscriptions are due, and by what factor the allowance is faster than the default one."""

    subscriptions: int
    speed: int

    @property
    def windows(self) -> Sequence[tuple[int, int]]:
        """The allowance: requests and seconds."""
        return ((PER_SECOND * self.speed, 1), (PER_MINUTE, 60 // self.speed))

    @property
    def rate(self) -> str:
        """The allowance as a setting of the service."""
        return ";".join(f"{requests}/{seconds}second" for requests, seconds in self.windows)


FULL: Final = Plan(subscriptions=100_000, speed=30)


@dataclass(frozen=True, slots=True)
class Report:
    """What happened. `waits` are the seconds of each sync on demand; `memory` the MB of each kind of process
    after a quarter of the backlog and at the end; `allowance` the requests a second that the provider allows;
    `allowed` the longest that a wait may be on this machine.
    """

    synced: int
    seconds: float
    allowance: float
    refused: int
    waits: Sequence[float]
    unfinished_waits: int
    memory: Mapping[str, tuple[float, float]]
    neglected: int
    wrong_rows: int
    allowed: float

    @property
    def wrong(self) -> Sequence[str]:
        """In words, what is not as it should be."""
        return [
            *(
                f"{name} grew from {early:.0f} to {late:.0f} MB"
                for name, (early, late) in self.memory.items()
                if late > MOST_GROWTH * early
            ),
            *([f"the provider refused {self.refused} requests"] if self.refused else []),
            *([f"a sync on demand took {max(self.waits):.1f} s"] if max(self.waits) > self.allowed else []),
            *([f"{self.unfinished_waits} syncs on demand gave no result"] if self.unfinished_waits else []),
            *([f"{self.wrong_rows} subscriptions are not right"] if self.wrong_rows else []),
        ]

    def lines(self) -> Iterator[str]:
        waits = sorted(self.waits)
        yield (
            f"synced: {self.synced:,} in {self.seconds:.0f} s, {self.synced / self.seconds:.1f} a second; "
            f"the provider allows {self.allowance:.1f}"
        )
        yield f"requests that the provider refused: {self.refused}"
        yield (
            f"syncs on demand: {len(waits)}, median {waits[len(waits) // 2]:.2f} s, longest {waits[-1]:.2f} s"
        )
        for name, (early, late) in self.memory.items():
            yield f"memory of {name}: {early:.0f} MB after a quarter, {late:.0f} MB at the end"
        yield f"sweeps that found subscriptions neglected by workers: {self.neglected}"
        yield from (f"WRONG: {one}" for one in self.wrong)


@dataclass
class Presser:
    """Somebody who presses "sync" for one account after the other."""

    stack: Stack
    chance: Random
    accounts: int
    waits: list[float] = field(default_factory=list)
    unfinished: int = 0

    def press(self) -> None:
        account = f"{PREFIX}-{self.chance.randrange(1, self.accounts)}"
        began = time.monotonic()
        response = self.stack.http.post(f"{self.stack.url}/v1/accounts/{account}/sync", timeout=60)
        self.waits.append(time.monotonic() - began)
        self.unfinished += response.status_code != requests.codes.ok


def run(stack: Stack, plan: Plan) -> Report:
    """Make so many subscriptions due, and watch until all are synced. Raises AssertionError if none is for
    long.
    """
    engine = create_engine(stack.environment["DATABASE_URL"])
    try:
        _fill(stack, engine, plan.subscriptions)
        stack.control("DELETE", "/requests")
        stack.turn(rate_limits=[list(window) for window in plan.windows])
        with Pace() as pace:
            began = time.monotonic()
            presser = Presser(stack, Random(0), plan.subscriptions)
            early = _watch(stack, engine, presser, until_left=plan.subscriptions * 3 // 4)
            late = _watch(stack, engine, presser, until_left=0)
            seconds = time.monotonic() - began
        with engine.connect() as connection:
            wrong_rows = connection.scalar(text(_WRONG), {"seats": AFTER}) or 0
    finally:
        engine.dispose()
    statuses = stack.control("GET", "/requests?limit=0")["statuses"]
    return Report(
        synced=plan.subscriptions,
        seconds=seconds,
        allowance=PER_MINUTE * plan.speed / 60,
        refused=statuses.get("429", 0),
        waits=presser.waits,
        unfinished_waits=presser.unfinished,
        memory={name: (early[name], late[name]) for name in _PROCESSES},
        neglected=len(re.findall("subscriptions neglected", stack.log(None))),
        wrong_rows=wrong_rows,
        allowed=pace.allows(LONGEST_WAIT),
    )


def _fill(stack: Stack, engine: Engine, count: int) -> None:
    """Sell `count` subscriptions, store them as they are after an outage of the provider, and change each at
    the provider.
    """
    world = stack.simulator.world
    fields = {"product_id": "pdt_team", "addons": cart(BEFORE)}
    first, *others = world.open_many(fields, count, PREFIX)
    stack.control("POST", "/emit", {"type": "subscription.updated", "subscription_id": first})
    account = f"{PREFIX}-0"
    wait_until(lambda: stack.purchased(account) == INCLUDED + BEFORE, "the first is synced", stack.log)
    for one in (first, *others):
        changed = replace(world.state.get(one), addons=(AddonUnits("adn_seat", AFTER),))
        world.state.put(changed)
    parameters = {"prefix": PREFIX, "others": len(others), "ids": others, "first": first}
    with engine.begin() as connection:
        for statement in (_COPY_ACCOUNTS, _COPY_SUBSCRIPTIONS, _ADD_WEBHOOKS):
            connection.execute(text(statement), parameters)
        connection.execute(text("UPDATE subscriptions SET hint = hint + 1 WHERE id = :first"), parameters)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE accounts, subscriptions, inbox"))


def _watch(stack: Stack, engine: Engine, presser: Presser, *, until_left: int) -> Mapping[str, float]:
    """Press "sync" about once a second until so many subscriptions are left; return the processes' memory."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:

        def press_and_count() -> bool:
            presser.press()
            time.sleep(_PRESSED_EVERY)
            return (connection.scalar(text(_LEFT)) or 0) <= until_left

        wait_until(press_and_count, f"{until_left} are left", stack.log, seconds=_LONGEST_SECONDS)
    return {name: _memory(stack, name) for name in _PROCESSES}


def _memory(stack: Stack, name: str) -> float:
    """The memory of the largest of these processes, in MB."""
    parents = stack.processes(name)
    return max(one.memory_info().rss for one in [*parents, *stack.children(name)]) / 1e6


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--subscriptions", default=FULL.subscriptions, show_default=True)
@click.option("--speed", default=FULL.speed, show_default=True, help="A divisor of 60.")
def main(subscriptions: int, speed: int) -> None:
    """Work off a backlog within the allowance, while somebody presses "sync".

    Exit code: 0 everything is right, 1 something is wrong.
    """
    if speed < 1 or 60 % speed:
        raise click.BadParameter("must be a divisor of 60", param_hint="--speed")
    plan = Plan(subscriptions, speed)
    with tempfile.TemporaryDirectory(prefix="seatsync-backlog-") as name:
        folder = Path(name)
        catalog = folder / "catalog.toml"
        catalog.write_text(CATALOG_TEXT, encoding="utf-8")
        with (
            PostgresServer(folder, durable=True) as postgres,
            RedisServer(folder, durable=False) as redis,
            Stack(
                folder,
                database_url=postgres.create_database("backlog"),
                redis_url=redis.url,
                catalog=catalog,
                SEATSYNC_PROVIDER_RATE=plan.rate,
            ) as stack,
        ):
            stack.start()
            report = run(stack, plan)
    click.echo("\n".join(report.lines()))
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
