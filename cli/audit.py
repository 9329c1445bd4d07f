"""The commands `seatsync audit verify` and `seatsync audit export`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import click

from cli.command_runtime import command_runtime
from cli.progress import progress_output
from cli.time_option import TimeOption
from domain.wording import counted
from runtime.wiring import Runtime
from services.reports import audit_verification
from services.reports.audit_export import Format, export
from services.reports.audit_verification import VerificationResult

_BATCH_SIZE: Final = 200


@click.group()
def audit() -> None:
    """Verify that the audit was not changed, or export it."""


@audit.command()
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
def verify(account_id: str | None) -> None:
    """Verify the hash chain of ACCOUNT, or of all accounts, and report the first broken row of each.

    Each row must match its hash, follow the account's previous row, and begin with the balance of that row.
    The newest row must be the last one written and match the account. Exit code: 0 the audit is unchanged, 1
    it is broken, 2 the command could not run.
    """
    accounts = rows = breaks = 0
    with command_runtime("seatsync-audit") as runtime:
        for checked in _checked(runtime, account_id):
            accounts += checked.accounts
            rows += checked.rows
            breaks += len(checked.breaks)
            for broken in checked.breaks:
                where = "no rows" if broken.row_id is None else f"row {broken.row_id}"
                click.echo(f"{broken.account_id}: {where}: {broken.problem}")
    result = f"{breaks} broken" if breaks else "unchanged"
    click.echo(f"{counted(rows, 'row')} of {counted(accounts, 'account')}: {result}.")
    sys.exit(1 if breaks else 0)


@audit.command("export")
@click.argument("account_id", metavar="ACCOUNT")
@click.option(
    "--format",
    "form",
    type=click.Choice([one.value for one in Format]),
    default=Format.JSON.value,
    show_default=True,
    help="One JSON document with one line per row, or CSV that is safe to open in a spreadsheet.",
)
@click.option("--from", "since", type=TimeOption(), help="Rows written at or after this time.")
@click.option("--to", "until", type=TimeOption(), help="Rows written before this time.")
def export_(account_id: str, *, form: str, since: datetime | None, until: datetime | None) -> None:
    """Write the audit of ACCOUNT to standard output, oldest row first.

    Times are ISO 8601 with an offset, such as 2026-11-22T12:00:00Z. The audit contains no names and no e-mail
    addresses.
    """
    out = sys.stdout.buffer
    with command_runtime("seatsync-audit") as runtime:
        for piece in export(runtime.sessions, account_id, Format(form), since=since, until=until):
            out.write(piece)
    out.flush()


def _checked(runtime: Runtime, account_id: str | None) -> Iterator[VerificationResult]:
    """The results for one account, or for all accounts batch by batch, each in its own transaction."""
    if account_id is not None:
        with runtime.sessions() as session:
            yield audit_verification.verify_account(session, account_id)
        return
    with runtime.sessions() as session:
        total = audit_verification.count_accounts(session)
    after, done = None, 0
    with progress_output() as show:
        while True:
            with runtime.sessions() as session:
                checked = audit_verification.verify(session, after=after, limit=_BATCH_SIZE)
            yield checked
            after, done = checked.last, done + checked.accounts
            show.step("checking accounts", done, max(total, done))
            if after is None:
                return
