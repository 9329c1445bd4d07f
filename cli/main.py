"""The `seatsync` command."""

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
    """Imports the command that is called and no other: together they take seconds of CPU time.

    Errors of our own and of what we depend on are shown as messages, not as tracebacks.
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
    """As `cli.failures` does, which imports every library whose errors it knows."""
    explain: Callable[[Exception], str | None] = pkgutil.resolve_name("cli.failures:explain")
    return explain(error)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seatsync")
def cli() -> None:
    """Right, readable, claimable seat counts for SaaS teams billed through Dodo Payments."""
    if isinstance(sys.stdout, TextIOWrapper):  # names come in every script, terminals in every encoding
        sys.stdout.reconfigure(errors="backslashreplace")
