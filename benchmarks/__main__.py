"""`python -m benchmarks [accept|read|claim|burst|forty|latency|resync|growth ...]`: bars and baselines."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from benchmarks import accept, burst, claim, forty, growth, latency, machine, read, resync, servers
from benchmarks.pace import FULL, QUICK
from benchmarks.report import Row, markdown, table

ALL = {
    "accept": accept,
    "read": read,
    "claim": claim,
    "burst": burst,
    "forty": forty,
    "latency": latency,
    "resync": resync,
    "growth": growth,
}

_PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_BEGIN, _END = "<!-- results -->\n", "<!-- /results -->\n"
_WIDE = 150


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(ALL)), metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="Run one short round of each: a smoke test, not a measurement.")
@click.option(
    "--write", is_flag=True, help="Also write the table, with today's date, to docs/performance.md."
)
def main(names: tuple[str, ...], *, quick: bool, write: bool) -> None:
    """Measure the bars NAME..., or all of them, each against its baseline in the same run."""
    if write and (names or quick):
        raise click.UsageError("Only a full run is written: leave out the names and --quick.")
    console, pace, rows, began = Console(), QUICK if quick else FULL, list[Row](), time.monotonic()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    with servers.running() as running:
        caption = f"{machine.described(running.home)}, {running.version()}"
        for name in names or ALL:
            with console.status(f"{name} ..."):
                rows += ALL[name].run(running, pace)
    console.print(table(rows, f"{caption}; {time.monotonic() - began:.0f} s"))
    if write:
        _write(markdown(rows, f"{datetime.now(UTC):%Y-%m-%d}, {caption}"))


def _write(results: str) -> None:
    before, _, rest = _PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(f"{before}{_BEGIN}\n{results}\n\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
