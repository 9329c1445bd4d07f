"""`python -m benchmarks [accept|read|claim|burst|latency ...]`: each bar beside its baseline."""

from __future__ import annotations

import click
from rich.console import Console

from benchmarks import accept, burst, claim, latency, read, servers
from benchmarks.pace import FULL, QUICK
from benchmarks.report import table

ALL = {"accept": accept, "read": read, "claim": claim, "burst": burst, "latency": latency}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(ALL)))
@click.option("--quick", is_flag=True)
def main(names, quick):
    pace = QUICK if quick else FULL
    rows = []
    with servers.running() as running:
        for name in names or ALL:
            rows += ALL[name].run(running, pace)
    Console().print(table(rows, ""))


if __name__ == "__main__":
    main()
