"""The command `seatsync backfill`: sync all subscriptions of an existing business for the first time."""

from __future__ import annotations

import sys
from itertools import islice

import click

from cli.backfill.dry_run import AccountPreview, DryRun
from cli.backfill.missing_products import missing_products
from cli.backfill.staging import Staging
from cli.backfill.summary import Summary, print_summary, stored_summary
from cli.command_runtime import command_runtime
from cli.full_sync import CannotGoOn, print_failed, sync_everything
from cli.progress import progress_output
from domain.provider_errors import ProviderError
from domain.wording import counted
from models import account
from runtime.wiring import Runtime


@click.command()
@click.option("--dry-run", is_flag=True, help="Read everything and show the result; write nothing.")
@click.option(
    "--show",
    "shown_accounts",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many accounts a dry run shows with their seats.",
)
@click.option(
    "--wait",
    "patience",
    type=click.IntRange(0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a provider that does not respond.",
)
def backfill(*, dry_run: bool, shown_accounts: int, patience: int) -> None:
    """Sync every subscription of the provider, with its account and its seats.

    Each subscription is retrieved once, within the reconcile part of the request budget: about 8,000 per hour
    with the default rate limit and little other traffic. Workers help. If the command is interrupted, run it
    again to continue. Products and add-ons that are missing in the catalogue are shown as TOML, to be pasted
    into it. Exit code: 0 everything is counted, 1 something is unknown, held or still to sync, 2 the command
    could not run.
    """
    with command_runtime("seatsync-backfill") as runtime:
        is_complete = _preview(runtime, shown_accounts, patience) if dry_run else _backfill(runtime, patience)
    sys.exit(0 if is_complete else 1)


def _backfill(runtime: Runtime, patience: float) -> bool:
    with runtime.sessions() as session:
        began_at = account.now(session)
    is_done = sync_everything(runtime, everything=False, patience=patience)
    with runtime.sessions() as session:
        summary = stored_summary(session, since=began_at)
    print_summary(summary)
    has_failed = print_failed(runtime)
    return _is_all_known(runtime, summary) and is_done and not has_failed


def _preview(runtime: Runtime, shown_accounts: int, patience: float) -> bool:
    with Staging() as staging:
        preview = DryRun(runtime, staging)
        try:
            with progress_output() as show:
                preview.read(show, patience)
        except ProviderError as error:
            raise CannotGoOn(
                f"{error.message} The dry run is incomplete; nothing was written. Try again later."
            ) from None
        accounts = preview.accounts()
        for one in islice(accounts, shown_accounts):
            _print_account(one)
        if more := sum(1 for _ in accounts):
            click.echo(f"... and {counted(more, 'more account')}")
        print_summary(preview.summary)
    click.echo("Nothing was written.")
    return _is_all_known(runtime, preview.summary)


def _print_account(one: AccountPreview) -> None:
    seats = ", ".join(f"{seat_type} {limit}" for seat_type, limit in sorted(one.seats.items()))
    click.echo(f"{one.account_id}: {seats or 'no seats'}; {counted(one.subscriptions, 'subscription')}")


def _is_all_known(runtime: Runtime, summary: Summary) -> bool:
    """True if every subscription is counted. Prints the products and add-ons missing in the catalogue."""
    unknown = missing_products(summary, runtime.catalog, runtime.provider)
    if unknown:
        click.echo(
            "\nThese products and add-ons are missing in the catalogue. Fill in how many seats each gives, "
            "add "
            f"them to {runtime.settings.catalog}, restart the processes, and run this again:\n\n{unknown}",
            nl=False,
        )
    return not summary.held and not unknown
