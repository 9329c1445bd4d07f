"""The command `seatsync replay`: replay dead letters, singly or in bulk."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from cli.command_runtime import command_runtime
from domain.errors import NotReplayable
from models.inbox import InboxEvent
from runtime.wiring import Runtime
from services.sync import replay as replays


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=int)
@click.option("--all", "every", is_flag=True, help="Replay all dead letters.")
@click.option(
    "--reason", default="", metavar="TEXT", help="With --all: only those whose reason contains TEXT."
)
def replay(ids: tuple[int, ...], *, every: bool, reason: str) -> None:
    """Read dead letters again and request a sync of their subscriptions.

    ID is the number of the inbox event, see GET /v1/inbox?state=dead. The workers do the syncs. Exit code: 0
    all were replayed, 1 some still cannot be read, 2 the command could not run.
    """
    if bool(ids) == every or (reason and not every):
        raise click.UsageError("Give the ids of dead letters, or --all (optionally with --reason TEXT).")
    with command_runtime("seatsync-replay") as runtime:
        results = list(_each(runtime, ids) if ids else replays.replay_all(runtime, reason=reason))
    refused = [result for result in results if isinstance(result, NotReplayable)]
    for error in refused:
        click.echo(error.message, err=True)
    click.echo(f"Replayed: {len(results) - len(refused)}. Still dead: {len(refused)}.")
    sys.exit(1 if refused else 0)


def _each(runtime: Runtime, ids: tuple[int, ...]) -> Iterator[InboxEvent | NotReplayable]:
    for inbox_id in ids:
        try:
            with runtime.sessions.begin() as session:
                replayed = replays.replay(session, runtime.provider, inbox_id)
        except NotReplayable as error:
            yield error
        else:
            yield replayed
