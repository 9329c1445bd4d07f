"""`seatsync import members`: the people an app has already, seated by the rules that hold for everybody."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

import click

from cli.command_runtime import command_runtime
from cli.member_import import seating
from cli.member_import.files import REJECT_COLUMNS
from cli.member_import.preview import preview
from cli.member_import.rows import COLUMNS, REQUIRED
from cli.member_import.seating import Importer, RowOutcome
from cli.member_import.staging import Staging
from cli.progress import shown
from domain import role_names
from domain.catalog.model import Catalog
from runtime.wiring import Runtime

_SHOWN_REJECTS = 20
_OPTIONAL = ", ".join(name for name in COLUMNS if name not in REQUIRED)


@click.group("import")
def import_() -> None:
    """Bring in what the app has already."""


@import_.command(epilog=f"Columns: {', '.join(REQUIRED)}; optional: {_OPTIONAL}.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what would happen to each account; write nothing.")
@click.option(
    "--batch",
    type=click.IntRange(1, 5000),
    default=200,
    show_default=True,
    help="Rows per transaction; people who claim in the same accounts wait for one at most.",
)
@click.option("--create-accounts", is_flag=True, help="Open accounts that are missing.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows that were not imported to this CSV file, each behind its line and reason.",
)
@click.option(
    "--names",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="How many of the members to be added a dry run names in each account.",
)
def members(
    file: Path, *, dry_run: bool, batch: int, create_accounts: bool, rejects: Path | None, names: int
) -> None:
    """Seat the members in FILE, a CSV file with a header or a JSON array of objects.

    Every row is a claim under its account's policy; who sits there already stays as they are. Killed and
    started again with the same file, it goes on where it was. Exit code: 0 all rows are seated, 1 some
    were not, 2 it could not run.
    """
    with (
        _opened(rejects, file) as rejected,
        command_runtime("seatsync-import") as runtime,
        Staging() as stage,
    ):
        _load(stage, file)
        _warn_of_roles(runtime.catalog, stage.roles)
        if dry_run:
            _show(runtime, stage, create_accounts=create_accounts, names=names)
            _write(rejected, stage)
        else:
            _seat(runtime, stage, batch=batch, create_accounts=create_accounts, rejected=rejected)
        count = stage.count_rejects()
        _tell_rejects(stage, count)
    sys.exit(1 if count else 0)


@contextmanager
def _opened(rejects: Path | None, file: Path) -> Iterator[TextIO | None]:
    """The file for rejected rows, before anything is done that they could come of."""
    if rejects is None:
        yield None
        return
    if rejects.exists() and rejects.samefile(file):
        raise click.UsageError("--rejects names the very file that is imported.")
    try:
        rejects.touch(0o600)  # it will hold names and addresses
        opened = rejects.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise click.UsageError(f"--rejects {rejects}: {error.strerror}.") from None
    with opened:
        yield opened


def _load(stage: Staging, file: Path) -> None:
    """Read the file to its end."""
    size = file.stat().st_size
    with shown(in_bytes=True) as show:
        stage.load(file, lambda done: show.step(f"reading {file.name}", done, size))


def _seat(
    runtime: Runtime, stage: Staging, *, batch: int, create_accounts: bool, rejected: TextIO | None
) -> None:
    with seating.alone(runtime.engine, stage.digest):
        run = seating.open_import(runtime, stage.digest)
        if run.rows_done:
            click.echo(f"This file was begun before: going on after {run.rows_done} of {stage.rows} rows.")
        importer = Importer(
            runtime=runtime, stage=stage, run=run, batch=batch, create_accounts=create_accounts
        )
        with shown(in_bytes=True) as show:
            run = importer.seat_all(lambda done: show.step("seating", done, stage.bytes))
        seating.note_rejects(runtime, stage, run)
        _write(rejected, stage)
        seating.close_import(runtime, run)
    _tell("Imported", run.counts, stage)


def _warn_of_roles(catalog: Catalog, roles: Mapping[str, int]) -> None:
    for role, rows in roles.items():
        if (warning := role_names.warning(catalog, role)) is not None:
            click.echo(f"warning: {rows} rows: {warning}", err=True)


def _show(runtime: Runtime, stage: Staging, *, create_accounts: bool, names: int) -> None:
    """The dry run, account by account as it is worked out."""
    total: dict[str, int] = {}
    for account in preview(runtime, stage, create_accounts=create_accounts, names=names):
        counts = ", ".join(f"{account.counts[outcome.value]} {outcome.value}" for outcome in RowOutcome)
        click.echo(f"{account.account_id}: {counts}; seats {account.before} -> {account.after}")
        for staged in account.first_added:
            click.echo(f"  + {staged.row.member_id} {staged.row.role}")
        if (more := account.counts[RowOutcome.ADDED.value] - len(account.first_added)) and names:
            click.echo(f"  + {more} more")
        for outcome, count in account.counts.items():
            total[outcome] = total.get(outcome, 0) + count
    _tell("Nothing was written. An import would be", total, stage)


def _tell(what: str, counts: Mapping[str, int], stage: Staging) -> None:
    """The sum: repetitions change nothing, and rows that could not be read count as rejected."""
    told = {outcome: counts.get(outcome.value, 0) for outcome in RowOutcome}
    told[RowOutcome.UNCHANGED] += stage.repeated
    told[RowOutcome.REJECTED] = stage.count_rejects()
    click.echo(f"{what}: {', '.join(f'{count} {outcome.value}' for outcome, count in told.items())}.")


def _tell_rejects(stage: Staging, count: int) -> None:
    for reject in islice(stage.rejects(), _SHOWN_REJECTS):
        click.echo(f"{stage.unit} {reject.line}: {reject.reason}", err=True)
    if count > _SHOWN_REJECTS:
        click.echo(f"... and {count - _SHOWN_REJECTS} more; --rejects FILE writes them all.", err=True)


def _write(file: TextIO | None, stage: Staging) -> None:
    """The rejected rows as they were given, each behind its line and reason. The file can be corrected and
    imported as it is.
    """
    if file is None:
        return
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow([*REJECT_COLUMNS, *stage.columns])
    rows.writerows([reject.line, reject.reason, *map(_cell, reject.cells)] for reject in stage.rejects())
    file.flush()


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, (bool, list, dict)) else value
