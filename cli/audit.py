"""`seatsync audit`: what proves an account's history, and a copy of it to hand out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import click

from cli.command_runtime import command_runtime
from cli.progress import shown
from cli.time_option import TimeOption
from domain.wording import counted
from runtime.wiring import Runtime
from services.reports import audit_verification
from services.reports.audit_export import Format, export
from services.reports.audit_verification import VerificationResult

_ACCOUNTS_AT_ONCE: Final = 200


@click.group()
def audit() -> None:
    """Prove that the audit is as it was written, or take a copy of it."""


@audit.command()
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
def verify(account_id: str | None) -> None:
    """Go over the hash chain of ACCOUNT, or of all accounts, and tell the first row that breaks it.

    Each row has to be as it was hashed, to follow the account's row before it and begin with the balance that
    one left, and the newest has to be the one that was written last and to show the account as it is. Exit
    code: 0 all is as it was written, 1 something is not, 2 it could not run.
    """
    accounts = rows = breaks = 0
    with command_runtime("seatsync-audit") as runtime:
        for checked in _checked(runtime, account_id):
            accounts += checked.accounts
            rows += checked.rows
            breaks += len(checked.breaks)
            for one in checked.breaks:
                where = "no rows" if one.row_id is None else f"row {one.row_id}"
                click.echo(f"{one.account_id}: {where}: {one.problem}")
    found = f"{breaks} broken" if breaks else "all as written"
    click.echo(f"{counted(rows, 'row')} of {counted(accounts, 'account')}: {found}.")
    sys.exit(1 if breaks else 0)


@audit.command("export")
@click.argument("account_id", metavar="ACCOUNT")
@click.option(
    "--format",
    "form",
    type=click.Choice([one.value for one in Format]),
    default=Format.JSON.value,
    show_default=True,
    help="One JSON document with a line for each row, or CSV that spreadsheets can open safely.",
)
@click.option("--from", "since", type=TimeOption(), help="Rows written then or later.")
@click.option("--to", "until", type=TimeOption(), help="Rows written before.")
def export_(account_id: str, *, form: str, since: datetime | None, until: datetime | None) -> None:
    """Write the audit of ACCOUNT to standard output, oldest row first.

    Times are ISO 8601 with an offset, as 2026-11-22T12:00:00Z. Names and e-mail addresses are not in it.
    """
    out = sys.stdout.buffer
    with command_runtime("seatsync-audit") as runtime:
        for piece in export(runtime.sessions, account_id, Format(form), since=since, until=until):
            out.write(piece)
    out.flush()


def _checked(runtime: Runtime, account_id: str | None) -> Iterator[VerificationResult]:
    """One account, or all of them a slice at a time, each in a transaction of its own."""
    if account_id is not None:
        with runtime.sessions() as session:
            yield audit_verification.verify_account(session, account_id)
        return
    with runtime.sessions() as session:
        total = audit_verification.count_accounts(session)
    after, done = None, 0
    with shown() as show:
        while True:
            with runtime.sessions() as session:
                checked = audit_verification.verify(session, after=after, limit=_ACCOUNTS_AT_ONCE)
            yield checked
            after, done = checked.last, done + checked.accounts
            show.step("checking accounts", done, max(total, done))
            if after is None:
                return
