"""`seatsync members`: what a person may ask of those who keep data about them."""

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
from services.ledger.erasure import Erased, Person, PersonalData


@click.group()
def members() -> None:
    """Erase what is personal of a member."""


@members.command()
@click.argument("member_id", required=False)
@click.option("--email", help="The person's address, in place of MEMBER_ID.")
@click.option("--account", "account_id", help="Only in this account; else in all of them.")
@click.option("--dry-run", is_flag=True, help="Show what would be erased where; write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(
    member_id: str | None, *, email: str | None, account_id: str | None, dry_run: bool, yes: bool
) -> None:
    """Erase the name and the address of MEMBER_ID, everywhere, for good.

    What stands under the same address in the same account, as an invitation under another id, goes too.
    Who sits keeps the seat, and the audit stays whole: it knows people by their ids alone. An invitation
    can be taken up by its member id only, once its address is erased.
    """
    if (member_id is None) == (email is None):
        raise click.UsageError("Name the person by MEMBER_ID or by --email ADDRESS, one of the two.")
    if email is not None and not email.strip():
        raise click.UsageError("--email is empty: it would name nobody.")
    if email is not None and (problem := emails.problem_of(email)) is not None:
        raise click.UsageError(f"--email {problem}.")
    if member_id is not None and not member_id:
        raise click.UsageError("MEMBER_ID is empty: it would name nobody.")
    person = Person(member_id=member_id, email=email, account_id=account_id)
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
            click.confirm("Erase the names and addresses for good?", abort=True)
        for trace in found:
            _tell(trace, _erase(sessions, trace))


def _nothing_found(sessions: Sessions, account_id: str | None) -> str:
    """What was looked for and not found: no more can be said than that."""
    if account_id is None:
        return "Nothing was found of this person in any account."
    with sessions() as session:
        if session.get(Account, account_id) is None:
            return f"No account {account_id!r} is known, so nothing was looked for. Check --account."
    return (
        f"Nothing was found of this person in the account {account_id!r}; other accounts were not searched."
    )


def _show(found: Sequence[PersonalData]) -> None:
    for trace in found:
        ids = ", ".join(trace.member_ids)
        if trace.other_ids:
            ids += f" and, under the same address, {', '.join(trace.other_ids)}"
        click.echo(
            f"{trace.account_id}: {counted(trace.assignments, 'assignment')} of {ids}, "
            f"{trace.personal} of them with a name or an address"
        )


def _erase(sessions: Sessions, trace: PersonalData) -> Erased:
    """One account in one transaction: no account waits for another."""
    with sessions.begin() as session:
        return erasure.erase(session, trace)


def _tell(trace: PersonalData, erased: Erased) -> None:
    assignments = counted(erased.assignments, "assignment")
    what = f"erased from {assignments}; {counted(erased.answers, 'kept answer')} dropped"
    click.echo(f"{trace.account_id}: {what}")
