"""`python -m benchmarks.dodo_sync --package FOLDER`: compares the provider's own sync tool with ours.

Each tool has its own simulator with the same subscriptions and the same changes; no webhooks are sent.
Afterwards each tool's own table is checked. A row is right if it has the provider's status, product and
quantity; its seats are right if the catalogue's arithmetic on the row gives the number bought. A row without
add-ons counts as having none.

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
from benchmarks.timer import run_due_syncs, run_pass, verify_all
from providers.rate_limit.budget import DEFAULT_RATE
from runtime.wiring import Runtime

HEADINGS = ("tool", "round", "time", "list calls", "retrieves", "refused", "rows right", "seats right")

_CHANGED = 0.01
_DEFAULT_LIMITS = [[40, 1], [240, 60]]
_FAILING_SHARE = 0.5  # of all responses, which are then a 500
_PAGE = 100
_INTERVAL_SECONDS = "86400"  # between two runs of dodo-sync; the process is ended after the first
_GAVE_UP = "Error during sync run"
_TIMEOUT_SECONDS = 300.0
_POLL = 0.1
_REDIRECT = Path(__file__).with_name("redirect.cjs")
_WIDE = 130
_SKIPPED = """skipped: this benchmark needs node and an installed dodo-sync.
Run `npm install dodo-sync` in a folder outside this one, then pass --package FOLDER/node_modules/dodo-sync"""

_THEIR_ROWS = "SELECT id, data FROM subscriptions"
_OUR_ROWS = """
    SELECT id, snapshot->>'status', snapshot->>'product_id', (snapshot->>'quantity')::int,
           (seats #>> '{full,included}')::int + (seats #>> '{full,addon}')::int
    FROM subscriptions WHERE snapshot IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Held:
    """One subscription as the provider or a tool has it: (status, product, quantity), and the seats."""

    row: tuple[str, str, int]
    seats: int


class Tool(Protocol):
    """One of the two sync tools."""

    name: str

    def sync(self) -> None:
        """Run once, as the tool's timer does."""

    def sync_for_a_day(self) -> None:
        """Do what the tool does within 24 hours."""

    def table(self) -> Mapping[str, Held]:
        """The tool's stored subscriptions by id."""


class DodoSync:
    name = "dodo-sync"

    def __init__(self, argv: Sequence[str], database_url: str, log: Path, provider: Business) -> None:
        self._argv = [*argv, "--database", "postgres", "--database-uri", database_url]
        self._database_url = database_url
        self._log = log
        self._provider = provider

    def sync(self) -> None:
        pages = math.ceil(len(self._provider.subscriptions()) / _PAGE) + 1  # it stops at an empty page
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
        until = time.monotonic() + _TIMEOUT_SECONDS
        while self._provider.successes() < pages:
            output = self._log.read_text(encoding="utf-8")
            if _GAVE_UP in output:
                return
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"dodo-sync did not finish: {output}")
            time.sleep(_POLL)


class SeatSync:
    name = "Seat Sync"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def sync(self) -> None:
        run_pass(self._runtime)
        run_due_syncs(self._runtime)

    def sync_for_a_day(self) -> None:
        verify_all(self._runtime)

    def table(self) -> Mapping[str, Held]:
        with self._runtime.sessions() as session:
            return {key: Held((*row,), seats) for key, *row, seats in session.execute(text(_OUR_ROWS))}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--package", type=click.Path(path_type=Path), help="The folder of the installed dodo-sync.")
@click.option("--subscriptions", "count", default=2_000, show_default=True)
@click.option(
    "--limits",
    is_flag=True,
    help="Use the provider's default rate limits; our first round then takes minutes.",
)
def main(package: Path | None, count: int, *, limits: bool) -> None:
    """Sync with dodo-sync and with Seat Sync, before and after one per cent changes, and compare."""
    argv = _command(package)
    if argv is None:
        click.echo(_SKIPPED)
        return
    logging.disable(logging.WARNING)  # one round makes the provider fail on purpose
    table = Table(*HEADINGS, title=f"{count:,} subscriptions, {DEFAULT_RATE if limits else 'no limits'}")
    with servers.running() as running, running.site("ours") as site, running.database("theirs") as database:
        table.caption = f"{machine.described(running.home)}, {running.version()}"
        log, catalog = running.home / "dodo-sync.log", running.home / "business.toml"
        catalog.write_text(CATALOG, encoding="utf-8")
        address = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)

        def theirs(provider: Business) -> AbstractContextManager[Tool]:
            return nullcontext(DodoSync(argv, address, log, provider))

        @contextmanager
        def ours(provider: Business) -> Iterator[Tool]:
            changed = {"DODO_PAYMENTS_BASE_URL": provider.url, "SEATSYNC_CATALOG": str(catalog)}
            if limits:
                changed["SEATSYNC_PROVIDER_RATE"] = DEFAULT_RATE
            with site.with_environment(changed).runtime() as runtime:
                yield SeatSync(runtime)

        for opened in (theirs, ours):
            for cells in _rounds(site, opened, count, limits=limits):
                table.add_row(*cells)
    console = Console()
    (console if console.is_terminal else Console(width=_WIDE)).print(table)


def _command(package: Path | None) -> list[str] | None:
    """The command that starts dodo-sync, without its database; None if it or node is not installed."""
    node, described = shutil.which("node"), (package or Path()) / "package.json"
    if node is None or package is None or not described.is_file():
        return None
    script = json.loads(described.read_text(encoding="utf-8")).get("bin", {}).get("dodo-sync")
    if script is None:
        return None
    options = (
        f"--interval {_INTERVAL_SECONDS} --scopes subscriptions --api-key {PROVIDER_KEY} --env test_mode"
    )
    return [node, "--require", str(_REDIRECT), str(package / script), *options.split()]


def _rounds(
    site: Site, opened: Callable[[Business], AbstractContextManager[Tool]], count: int, *, limits: bool
) -> Iterator[tuple[str, ...]]:
    """Run the rounds of one tool against its own simulator; yields the table row of each round."""
    with business(site) as provider, opened(provider) as tool:
        changes = _fill(provider, count)
        if limits:
            provider.turn(rate_limits=_DEFAULT_LIMITS)
        yield _round("all new", tool, provider, tool.sync)
        next(changes)
        yield _round(f"{_CHANGED:.0%} changed", tool, provider, tool.sync)
        if limits:
            return  # a whole day's calls at once would only measure the limits
        yield _round("a day later", tool, provider, tool.sync_for_a_day)
        next(changes)
        provider.turn(api_500_probability=_FAILING_SHARE)
        yield _round(f"{_CHANGED:.0%} changed, every second response a 500", tool, provider, tool.sync)


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
    """Open `count` subscriptions of the three kinds.

    Each `next` on the result changes another one per cent of them: a quarter each in status, in quantity, in
    a priced add-on and in a free add-on.
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
