"""`seatsync backfill`: a business that is there already, brought in whole."""

from __future__ import annotations

import sys
from itertools import islice

import click

from cli.backfill.dry_run import AccountSeen, DryRun
from cli.backfill.missing_products import sections
from cli.backfill.staging import Staging
from cli.backfill.summary import Summary, of_the_rows, tell
from cli.command_runtime import command_runtime
from cli.full_sync import CannotGoOn, sync_everything, tell_failed
from cli.progress import shown
from domain.errors import ProviderError
from domain.wording import counted
from models import account
from runtime.wiring import Runtime


@click.command()
@click.option("--dry-run", is_flag=True, help="Look at everything and show what it comes to; write nothing.")
@click.option(
    "--show",
    "shown_accounts",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many accounts a dry run shows, each with its seats.",
)
@click.option(
    "--wait",
    "patience",
    type=click.IntRange(0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a provider that does not answer.",
)
def backfill(*, dry_run: bool, shown_accounts: int, patience: int) -> None:
    """Bring in every subscription that the provider has, with its account and its seats.

    Each is looked at once, at the pace of the reconcile budget: some 8,000 an hour of the default allowance
    while nobody else asks for much. The workers help. Killed and started again, it goes on where it was.
    Products and add-ons that the catalogue does not know are shown as TOML to paste into it. Exit code: 0
    all is counted, 1 something is unknown, held or still waits, 2 it could not run.
    """
    with command_runtime("seatsync-backfill") as runtime:
        is_well = _rehearse(runtime, shown_accounts, patience) if dry_run else _bring_in(runtime, patience)
    sys.exit(0 if is_well else 1)


def _bring_in(runtime: Runtime, patience: float) -> bool:
    with runtime.sessions() as session:
        began_at = account.now(session)
    is_done = sync_everything(runtime, everything=False, patience=patience)
    with runtime.sessions() as session:
        summary = of_the_rows(session, since=began_at)
    tell(summary)
    has_failed = tell_failed(runtime)
    return _is_all_known(runtime, summary) and is_done and not has_failed


def _rehearse(runtime: Runtime, shown_accounts: int, patience: float) -> bool:
    with Staging() as stage:
        rehearsal = DryRun(runtime, stage)
        try:
            with shown() as show:
                rehearsal.read(show, patience)
        except ProviderError as error:
            raise CannotGoOn(
                f"{error.message} Not everything could be looked at; nothing was written."
            ) from None
        accounts = rehearsal.accounts()
        for one in islice(accounts, shown_accounts):
            _tell_account(one)
        if more := sum(1 for _ in accounts):
            click.echo(f"... and {counted(more, 'more account')}")
        tell(rehearsal.summary)
    click.echo("Nothing was written.")
    return _is_all_known(runtime, rehearsal.summary)


def _tell_account(one: AccountSeen) -> None:
    seats = ", ".join(f"{seat_type} {limit}" for seat_type, limit in sorted(one.seats.items()))
    click.echo(f"{one.account_id}: {seats or 'no seats'}; {counted(one.subscriptions, 'subscription')}")


def _is_all_known(runtime: Runtime, summary: Summary) -> bool:
    """Whether everything is counted; what the catalogue has to learn for that is shown."""
    unknown = sections(summary, runtime.catalog, runtime.provider)
    if unknown:
        click.echo(
            "\nThe catalogue does not know these. Say what each is worth in seats, put them into "
            f"{runtime.settings.catalog}, restart the processes, and run this again:\n\n{unknown}",
            nl=False,
        )
    return not summary.held and not unknown
