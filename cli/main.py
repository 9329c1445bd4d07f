"""The `seatsync` command."""

from __future__ import annotations

import sys

import click

from cli.audit import audit
from cli.backfill import backfill
from cli.budget import budget
from cli.catalog import catalog
from cli.demo.command import demo
from cli.doctor import doctor
from cli.drift import drift
from cli.explain import explain
from cli.import_members import import_
from cli.keys import keys
from cli.members import members
from cli.run import migrate, sweeper
from cli.sync import sync
from cli.up import up
from seats.errors import SeatSyncError


class _Plain(click.Group):
    """Our own errors are messages for people, not tracebacks."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SeatSyncError as error:
            click.echo(error.message, err=True)
            sys.exit(2)


@click.group(cls=_Plain, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seatsync")
def cli() -> None:
    """Right, readable, claimable seat counts for SaaS teams billed through Dodo Payments."""


for command in (
    *(up, demo, migrate, sweeper, keys, members, import_),
    *(catalog, backfill, sync, drift, explain, audit, doctor, budget),
):
    cli.add_command(command)
