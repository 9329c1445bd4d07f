"""The command `seatsync members erase`: erase the personal data of a member."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from cli.connections import database
from domain import emails
from domain.wording import counted
from models.account import Account
from models.database import Sessions
from services.ledger import erasure
from services.ledger.erasure import Erased, ErasureRequest, PersonalData


@click.group()
def members() -> None:
    """Erase the personal data of members."""


@members.command()
@click.argument("member_id", required=False)
@click.option("--email", help="The person's e-mail address, instead of MEMBER_ID.")
@click.option("--account", "account_id", help="Only in this account; default: in all accounts.")
@click.option("--dry-run", is_flag=True, help="Show what would be erased; write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def erase(
    member_id: str | None, *, email: str | None, account_id: str | None, dry_run: bool, yes: bool
) -> None:
    """Erase the name and the e-mail address of MEMBER_ID permanently.

    Data with the same address in the same account is erased too, for example an invitation under another id.
    The member keeps the seat, and the audit stays complete: it contains only ids. Without its address, an
    invitation can be confirmed only by its member id.
    """
    if (member_id is None) == (email is None):
        raise click.UsageError("Give either MEMBER_ID or --email ADDRESS.")
    if email is not None and not email.strip():
        raise click.UsageError("--email is empty. Give an e-mail address.")
    if email is not None and (problem := emails.problem_of(email)) is not None:
        raise click.UsageError(f"--email {problem}.")
    if member_id is not None and not member_id:
        raise click.UsageError("MEMBER_ID is empty. Give the id of a member.")
    person = ErasureRequest(member_id=member_id, email=email, account_id=account_id)
    with database("seatsync-members") as sessions:
        with sessions() as session:
            found = erasure.personal_data(session, person)
        if not found:
            click.echo(_nothing_found(sessions, account_id), err=True)
            sys.exit(1)
        _show(found)
        if dry_run:
            return
        if not yes:
            click.confirm("Erase the names and addresses permanently?", abort=True)
        for data in found:
            _print_erased(data, _erase(sessions, data))


def _nothing_found(sessions: Sessions, account_id: str | None) -> str:
    """The message if nothing was found, which says where the command searched."""
    if account_id is None:
        return "No personal data of this person was found in any account."
    with sessions() as session:
        if session.get(Account, account_id) is None:
            return f"There is no account {account_id!r}, so nothing was searched. Check --account."
    return (
        f"No personal data of this person was found in the account {account_id!r}. Other accounts were not "
        "searched."
    )


def _show(found: Sequence[PersonalData]) -> None:
    for data in found:
        ids = ", ".join(data.member_ids)
        if data.other_ids:
            ids += f" and, under the same address, {', '.join(data.other_ids)}"
        click.echo(
            f"{data.account_id}: {counted(data.assignments, 'assignment')} of {ids}, "
            f"{data.personal} of them with a name or an address"
        )


def _erase(sessions: Sessions, data: PersonalData) -> Erased:
    """Erase in one account, in its own transaction, so that only one account is locked at a time."""
    with sessions.begin() as session:
        return erasure.erase(session, data)


def _print_erased(data: PersonalData, erased: Erased) -> None:
    assignments = counted(erased.assignments, "assignment")
    what = f"erased from {assignments}; {counted(erased.answers, 'stored response')} deleted"
    click.echo(f"{data.account_id}: {what}")
