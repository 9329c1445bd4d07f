"""The `seatsync` command with its subcommands."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Final

import click

from domain.errors import SeatSyncError

_COMMANDS: Final = {
    "audit": "cli.audit:audit",
    "backfill": "cli.backfill.command:backfill",
    "beat": "cli.single_process:beat",
    "budget": "cli.budget:budget",
    "catalog": "cli.catalog.command:catalog",
    "demo": "cli.demo.command:demo",
    "doctor": "cli.doctor.command:doctor",
    "drift": "cli.drift:drift",
    "explain": "cli.explain:explain",
    "import": "cli.member_import.command:import_",
    "keys": "cli.keys:keys",
    "members": "cli.members:members",
    "migrate": "cli.migrate:migrate",
    "replay": "cli.replay:replay",
    "sweeper": "cli.sweeper:sweeper",
    "sync": "cli.sync:sync",
    "up": "cli.up:up",
    "web": "cli.single_process:web",
    "worker": "cli.single_process:worker",
}


_COULD_NOT_RUN: Final = 2
_INTERRUPTED: Final = 130  # what a shell shows for a program that Ctrl-C ended
_OF_CLICK: Final = (click.ClickException, click.exceptions.Exit, click.Abort)


class _Commands(click.Group):
    """Imports only the subcommand that is called: importing all of them takes seconds.

    Errors of this service, and of the database, Redis and disk, are shown as messages without a traceback.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = pkgutil.resolve_name(_COMMANDS[cmd_name])
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except _OF_CLICK:
            raise
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(_INTERRUPTED)
        except SeatSyncError as error:
            click.echo(error.message, err=True)
        except Exception as error:
            if (message := _explain(error)) is None:
                raise
            click.echo(message, err=True)
        sys.exit(_COULD_NOT_RUN)


def _explain(error: Exception) -> str | None:
    """Call `cli.failures.explain`, imported only now: it imports every library whose errors it explains."""
    explain: Callable[[Exception], str | None] = pkgutil.resolve_name("cli.failures:explain")
    return explain(error)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seatsync")
def cli() -> None:
    """Count and enforce the seats of SaaS teams billed through Dodo Payments."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal's encoding may lack characters of a name
        sys.stdout.reconfigure(errors="backslashreplace")
