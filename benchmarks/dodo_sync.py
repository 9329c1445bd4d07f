"""`python -m benchmarks.dodo_sync --package FOLDER`: the provider's own sync tool beside ours.

Each has a simulator of its own; both hold the same subscriptions and go through the same changes, of which
no webhook tells. Right is what the tool's own table says afterwards: a row, if status, product and quantity
are the provider's; its seats, if the catalogue's arithmetic on the row gives what was bought. A row without
add-ons is read as one of somebody who has none.

FOLDER is the installed package, such as node_modules/dodo-sync; this program installs nothing.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url, text

from benchmarks import machine, servers
from benchmarks.bodies import PROVIDER_KEY
from benchmarks.business import CATALOG, GIVEN, PER_USER, PRICED, Business, Fields, business, seats_of
from benchmarks.servers import Site
from benchmarks.timer import a_day, a_pass, work_off
from providers.rate_limit.budget import DEFAULT_RATE
from runtime.wiring import Runtime

HEADINGS = ("tool", "round", "time", "list calls", "retrieves", "refused", "rows right", "seats right")

_CHANGED = 0.01
_DEFAULT_LIMITS = [[40, 1], [240, 60]]
_BAD_DAY = 0.5  # so many answers are a 500
_PAGE = 100
_ONCE = "86400"  # seconds from one of its runs to the next, which it does not live to see
_GAVE_UP = "Error during sync run"
_PATIENCE = 300.0
_POLL = 0.1
_REDIRECT = Path(__file__).with_name("redirect.cjs")
_WIDE = 130
_SKIPPED = """skipped: node and an installed dodo-sync are needed.
`npm install dodo-sync` in a folder outside of this one, then --package THERE/node_modules/dodo-sync"""

_THEIR_ROWS = "SELECT id, data FROM subscriptions"
_OUR_ROWS = """
    SELECT id, snapshot->>'status', snapshot->>'product_id', (snapshot->>'quantity')::int,
           (seats #>> '{full,included}')::int + (seats #>> '{full,addon}')::int
    FROM subscriptions WHERE snapshot IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What the provider or a tool knows of one subscription: status, product and quantity, and the seats."""

    row: tuple[str, str, int]
    seats: int


class Tool(Protocol):
    """One of the two."""

    name: str

    def sync(self) -> None:
        """One run, as on its timer."""

    def sync_for_a_day(self) -> None:
        """All that it does in 24 hours."""

    def table(self) -> Mapping[str, Held]:
        """What it holds, by subscription."""


class Theirs:
    name = "dodo-sync"

    def __init__(self, argv: Sequence[str], database_url: str, log: Path, provider: Business) -> None:
        self._argv = [*argv, "--database", "postgres", "--database-uri", database_url]
        self._database_url = database_url
        self._log = log
        self._provider = provider

    def sync(self) -> None:
        pages = math.ceil(len(self._provider.subscriptions()) / _PAGE) + 1  # it ends with an empty one
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._argv, env={"SIMULATOR_URL": self._provider.url}, stdout=log, stderr=log
            )
        try:
            self._await_end(process, pages)
        finally:
            process.terminate()
            process.wait()

    def sync_for_a_day(self) -> None:
        self.sync()

    def table(self) -> Mapping[str, Held]:
        with psycopg.connect(self._database_url) as connection:
            return {key: _held(data) for key, data in connection.execute(_THEIR_ROWS)}

    def _await_end(self, process: subprocess.Popen[bytes], pages: int) -> None:
        until = time.monotonic() + _PATIENCE
        while self._provider.answered() < pages:
            said = self._log.read_text(encoding="utf-8")
            if _GAVE_UP in said:
                return
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"dodo-sync came to no end: {said}")
            time.sleep(_POLL)


class Ours:
    name = "Seat Sync"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def sync(self) -> None:
        a_pass(self._runtime)
        work_off(self._runtime)

    def sync_for_a_day(self) -> None:
        a_day(self._runtime)

    def table(self) -> Mapping[str, Held]:
        with self._runtime.sessions() as session:
            return {key: Held((*row,), seats) for key, *row, seats in session.execute(text(_OUR_ROWS))}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--package", type=click.Path(path_type=Path), help="The folder of the installed dodo-sync.")
@click.option("--subscriptions", "count", default=2_000, show_default=True)
@click.option(
    "--limits", is_flag=True, help="With the provider's default limits: our first round takes minutes."
)
def main(package: Path | None, count: int, *, limits: bool) -> None:
    """Sync with dodo-sync and with ours, before and after one per cent changes, and compare."""
    argv = _command(package)
    if argv is None:
        click.echo(_SKIPPED)
        return
    logging.disable(logging.WARNING)  # a bad day is meant to be one
    table = Table(*HEADINGS, title=f"{count:,} subscriptions, {DEFAULT_RATE if limits else 'no limits'}")
    with servers.running() as running, running.site("ours") as site, running.database("theirs") as database:
        table.caption = f"{machine.described(running.home)}, {running.version()}"
        log, catalog = running.home / "dodo-sync.log", running.home / "business.toml"
        catalog.write_text(CATALOG, encoding="utf-8")
        address = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)

        def theirs(provider: Business) -> AbstractContextManager[Tool]:
            return nullcontext(Theirs(argv, address, log, provider))

        @contextmanager
        def ours(provider: Business) -> Iterator[Tool]:
            told = {"DODO_PAYMENTS_BASE_URL": provider.url, "SEATSYNC_CATALOG": str(catalog)}
            if limits:
                told["SEATSYNC_PROVIDER_RATE"] = DEFAULT_RATE
            with site.but_with(told).runtime() as runtime:
                yield Ours(runtime)

        for opened in (theirs, ours):
            for cells in _rounds(site, opened, count, limits=limits):
                table.add_row(*cells)
    console = Console()
    (console if console.is_terminal else Console(width=_WIDE)).print(table)


def _command(package: Path | None) -> list[str] | None:
    """How to start it, but for where it writes to; None where it, or node, cannot be found."""
    node, described = shutil.which("node"), (package or Path()) / "package.json"
    if node is None or package is None or not described.is_file():
        return None
    script = json.loads(described.read_text(encoding="utf-8")).get("bin", {}).get("dodo-sync")
    if script is None:
        return None
    fixed = f"--interval {_ONCE} --scopes subscriptions --api-key {PROVIDER_KEY} --env test_mode".split()
    return [node, "--require", str(_REDIRECT), str(package / script), *fixed]


def _rounds(
    site: Site, opened: Callable[[Business], AbstractContextManager[Tool]], count: int, *, limits: bool
) -> Iterator[tuple[str, ...]]:
    """The rounds of one tool against a simulator of its own, as lines of the table."""
    with business(site) as provider, opened(provider) as tool:
        changes = _fill(provider, count)
        if limits:
            provider.turn(rate_limits=_DEFAULT_LIMITS)
        yield _round("all new", tool, provider, tool.sync)
        next(changes)
        yield _round(f"{_CHANGED:.0%} changed", tool, provider, tool.sync)
        if limits:
            return  # a day's calls in one go would only measure the limits
        yield _round("a day later", tool, provider, tool.sync_for_a_day)
        next(changes)
        provider.turn(api_500_probability=_BAD_DAY)
        yield _round(f"{_CHANGED:.0%} changed, bad day", tool, provider, tool.sync)


def _round(what: str, tool: Tool, provider: Business, sync: Callable[[], None]) -> tuple[str, ...]:
    provider.forget_calls()
    sync()
    calls, held = provider.calls(), tool.table()
    truth = {one["subscription_id"]: _held(one) for one in provider.subscriptions()}
    known = [(held[key], true) for key, true in truth.items() if key in held]
    return (
        tool.name,
        what,
        f"{calls.seconds:.1f} s",
        f"{calls.pages:,}",
        f"{calls.retrieves:,}",
        f"{calls.refused:,}",
        f"{sum(ours.row == true.row for ours, true in known):,}",
        f"{sum(ours.seats == true.seats for ours, true in known):,}",
    )


def _fill(provider: Business, count: int) -> Iterator[None]:
    """Three kinds of customers; with each `next`, one per cent of all are changed that were not before: a
    quarter each in status, in quantity, in an add-on with a price, and in one without.
    """
    priced = iter(provider.open(count * 6 // 10, PRICED, prefix="priced"))
    given = iter(provider.open(count * 2 // 10, GIVEN, prefix="given"))
    per_user = iter(provider.open(count * 2 // 10, PER_USER, prefix="per-user"))
    each = max(1, round(count * _CHANGED / 4))

    def changes() -> Iterator[None]:
        while True:
            for _ in range(each):
                provider.change(next(priced), "status", status="on_hold")
                provider.change(next(priced), "cart", addons=[{"addon_id": "adn_seat", "quantity": 9}])
                provider.change(next(per_user), "cart", quantity=13)
                provider.set(next(given), addons=[{"addon_id": "adn_gift", "quantity": 8}])
            yield

    return changes()


def _held(subscription: Fields) -> Held:
    row = (subscription["status"], subscription["product_id"], subscription["quantity"])
    return Held(row, seats_of(subscription))


if __name__ == "__main__":
    main()
