"""The command `seatsync import members`: import the members that an app already has from a file."""

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
from cli.member_import import importer
from cli.member_import.files import REJECT_COLUMNS
from cli.member_import.importer import Importer, RowOutcome
from cli.member_import.preview import preview
from cli.member_import.rows import COLUMNS, REQUIRED
from cli.member_import.staging import Staging
from cli.progress import progress_output
from domain import role_names
from domain.catalog.model import Catalog
from runtime.wiring import Runtime

_SHOWN_REJECTS = 20
_OPTIONAL = ", ".join(name for name in COLUMNS if name not in REQUIRED)


@click.group("import")
def import_() -> None:
    """Import data that the app already has."""


@import_.command(epilog=f"Columns: {', '.join(REQUIRED)}; optional: {_OPTIONAL}.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what would change in each account; write nothing.")
@click.option(
    "--batch",
    type=click.IntRange(1, 5000),
    default=200,
    show_default=True,
    help="Rows per transaction. Other claims in the same accounts wait for one transaction at most.",
)
@click.option("--create-accounts", is_flag=True, help="Create accounts that do not exist.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows that were not imported to this CSV file, with their lines and reasons.",
)
@click.option(
    "--names",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="How many new members a dry run lists per account.",
)
def members(
    file: Path, *, dry_run: bool, batch: int, create_accounts: bool, rejects: Path | None, names: int
) -> None:
    """Import the members in FILE, a CSV file with a header or a JSON array of objects.

    Every row is a claim under its account's policy. Existing members keep their seats. If the import is
    interrupted, run it again with the same file to continue. Exit code: 0 all rows were imported, 1 some
    were rejected, 2 the command could not run.
    """
    with (
        _rejects_file(rejects, file) as rejects_file,
        command_runtime("seatsync-import") as runtime,
        Staging() as staging,
    ):
        _load(staging, file)
        _warn_about_roles(runtime.catalog, staging.roles)
        if dry_run:
            _show_preview(runtime, staging, create_accounts=create_accounts, names=names)
            _write_rejects(rejects_file, staging)
        else:
            _import(runtime, staging, batch=batch, create_accounts=create_accounts, rejects_file=rejects_file)
        count = staging.count_rejects()
        _print_rejects(staging, count)
    sys.exit(1 if count else 0)


@contextmanager
def _rejects_file(rejects: Path | None, file: Path) -> Iterator[TextIO | None]:
    """Open the file for rejected rows, before anything is imported. None if the option is not used."""
    if rejects is None:
        yield None
        return
    if rejects.exists() and rejects.samefile(file):
        raise click.UsageError("--rejects names the file to be imported. Choose another file.")
    try:
        rejects.touch(0o600)  # it will contain names and e-mail addresses
        opened = rejects.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise click.UsageError(f"--rejects {rejects}: {error.strerror}.") from None
    with opened:
        yield opened


def _load(staging: Staging, file: Path) -> None:
    """Read the file to its end."""
    size = file.stat().st_size
    with progress_output(in_bytes=True) as show:
        staging.load(file, lambda done: show.step(f"reading {file.name}", done, size))


def _import(
    runtime: Runtime, staging: Staging, *, batch: int, create_accounts: bool, rejects_file: TextIO | None
) -> None:
    with importer.exclusive_lock(runtime.lock_engine, staging.digest):
        run = importer.begin_or_resume(runtime, staging.digest)
        if run.rows_done:
            click.echo(
                f"Continuing an earlier import of this file after {run.rows_done} of {staging.rows} rows."
            )
        batches = Importer(
            runtime=runtime, staging=staging, run=run, batch=batch, create_accounts=create_accounts
        )
        with progress_output(in_bytes=True) as show:
            run = batches.import_all(lambda done: show.step("importing", done, staging.bytes))
        importer.collect_rejects(runtime, staging, run)
        _write_rejects(rejects_file, staging)
        importer.finish(runtime, run)
    _print_totals("Imported", run.counts, staging)


def _warn_about_roles(catalog: Catalog, roles: Mapping[str, int]) -> None:
    for role, rows in roles.items():
        if (warning := role_names.warning(catalog, role)) is not None:
            click.echo(f"warning: {rows} rows: {warning}", err=True)


def _show_preview(runtime: Runtime, staging: Staging, *, create_accounts: bool, names: int) -> None:
    """Print the dry run account by account."""
    total: dict[str, int] = {}
    for account in preview(runtime, staging, create_accounts=create_accounts, names=names):
        counts = ", ".join(f"{account.counts[outcome.value]} {outcome.value}" for outcome in RowOutcome)
        click.echo(f"{account.account_id}: {counts}; seats {account.before} -> {account.after}")
        for staged in account.first_added:
            click.echo(f"  + {staged.row.member_id} {staged.row.role}")
        if (more := account.counts[RowOutcome.ADDED.value] - len(account.first_added)) and names:
            click.echo(f"  + {more} more")
        for outcome, count in account.counts.items():
            total[outcome] = total.get(outcome, 0) + count
    _print_totals("Nothing was written. An import would be", total, staging)


def _print_totals(title: str, counts: Mapping[str, int], staging: Staging) -> None:
    """Print the totals. Repeated rows count as unchanged, unreadable rows as rejected."""
    totals = {outcome: counts.get(outcome.value, 0) for outcome in RowOutcome}
    totals[RowOutcome.UNCHANGED] += staging.repeated
    totals[RowOutcome.REJECTED] = staging.count_rejects()
    click.echo(f"{title}: {', '.join(f'{count} {outcome.value}' for outcome, count in totals.items())}.")


def _print_rejects(staging: Staging, count: int) -> None:
    for reject in islice(staging.rejects(), _SHOWN_REJECTS):
        click.echo(f"{staging.unit} {reject.line}: {reject.reason}", err=True)
    if count > _SHOWN_REJECTS:
        click.echo(
            f"... and {count - _SHOWN_REJECTS} more. --rejects FILE writes all of them to a file.", err=True
        )


def _write_rejects(file: TextIO | None, staging: Staging) -> None:
    """Write the rejected rows as they were given, after columns for line and reason. The user can correct
    that file and import it; the two columns are ignored then.
    """
    if file is None:
        return
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow([*REJECT_COLUMNS, *staging.columns])
    rows.writerows([reject.line, reject.reason, *map(_cell, reject.cells)] for reject in staging.rejects())
    file.flush()


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, (bool, list, dict)) else value
