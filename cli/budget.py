"""The command `seatsync budget`: used and reserved parts of the provider's rate limit."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import Any, Final

import click
from redis import RedisError
from rich.console import Console
from rich.table import Table

from cli.connections import servers
from providers.base import Priority
from providers.dodo.provider import Dodo
from providers.rate_limit.budget import parse_rate
from providers.rate_limit.redis_log import RedisLog
from providers.rate_limit.request_log import State, Use
from runtime.wiring import namespace_of, redis_client

# A pause of one priority also pauses the lower ones.
_PAUSED: Final = {
    Priority.INTERACTIVE: "all calls are paused",
    Priority.WEBHOOK: "webhook and reconcile are paused",
    Priority.RECONCILE: "reconcile is limited to its minimum",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def budget(*, as_json: bool) -> None:
    """Show the request budget for the provider's API, which all processes share.

    Changes nothing. Exit code: 0 shown, 2 Redis does not respond.
    """
    try:
        state = _state()
    except RedisError as error:
        click.echo(
            f"Redis does not respond ({type(error).__name__}). Check that it runs, and check REDIS_URL. "
            "Meanwhile every process counts its own requests and uses an eighth of the rate limit.",
            err=True,
        )
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(_document(state), indent=2))
    else:
        _print(state)


def _state() -> State:
    with servers() as settings, closing(redis_client(str(settings.redis_url))) as client:
        prefix = namespace_of(settings)
        windows = parse_rate(settings.provider_rate)
        return RedisLog(client, windows, Dodo.name, lambda: prefix).state()


def _print(state: State) -> None:
    console = Console()
    if console.is_terminal:
        table = Table("window", "used", *Priority)
        for use in state.uses:
            table.add_row(_window(use), _used(use), *(_part(use, priority) for priority in Priority))
        console.print(table)
    else:
        for use in state.uses:
            parts = (f"{priority} {_part(use, priority)}" for priority in Priority)
            click.echo(f"{_window(use)}: {_used(use)} used; {'; '.join(parts)}")
    for priority, seconds in state.pauses.items():
        click.echo(f"{_PAUSED[priority]} for {seconds:.0f} seconds")


def _window(use: Use) -> str:
    return f"{use.window.seconds} s"


def _used(use: Use) -> str:
    return f"{use.total} of {use.window.requests}"


def _part(use: Use, priority: Priority) -> str:
    return f"{use.by_priority[priority]}, {use.kept_free[priority]} reserved"


def _document(state: State) -> dict[str, Any]:
    return {
        "windows": [
            {
                "seconds": use.window.seconds,
                "limit": use.window.requests,
                "used": use.total,
                "used_by": dict(use.by_priority),
                "kept_free_for": dict(use.kept_free),
            }
            for use in state.uses
        ],
        "pauses": dict(state.pauses),
    }
