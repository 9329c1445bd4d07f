"""The command `seatsync doctor`: check the configuration and that all processes are running."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

import click

from cli.command_runtime import command_runtime
from cli.doctor import broker, catalog, database, links, provider, work
from cli.doctor.result import Level, Result, worst
from cli.doctor.runner import Check, run_checks

CHECKS: Final[Mapping[str, Check]] = {
    "provider": provider.check,
    "catalogue": catalog.check,
    "database": database.check,
    "broker": broker.check,
    "links": links.check,
    "work": work.check,
}
_EXIT_CODES: Final = {Level.OK: 0, Level.NOTE: 0, Level.WARNING: 1, Level.FAILURE: 2}
_SECONDS: Final = 30.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(*, as_json: bool) -> None:
    """Check keys, secrets, catalogue, clocks, servers and processes, and say what to do.

    Changes nothing, neither here nor at the provider. Exit code: 0 no warnings, 1 there are warnings, 2 there
    are failures, or settings with which no process would start.
    """
    with command_runtime("seatsync-doctor", pool_size=8) as runtime:
        results = run_checks(CHECKS, runtime, seconds=_SECONDS)
    if as_json:
        _print_json(results)
    else:
        _print(results)
    sys.exit(_EXIT_CODES[worst(results)])


def _print(results: list[Result]) -> None:
    for result in results:
        click.echo(f"{result.level:<8} {result.check}: {result.found}")
        if result.advice:
            click.echo(f"{'':<8}   -> {result.advice}")
    counts = Counter(result.level for result in results)
    click.echo(", ".join(f"{level} {counts[level]}" for level in Level))


def _print_json(results: list[Result]) -> None:
    document = {"level": worst(results), "results": [asdict(result) for result in results]}
    click.echo(json.dumps(document, indent=2))
