"""`seatsync keys`: API keys for app backends."""

from __future__ import annotations

import sys
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from cli.connections import database
from models import api_key
from models.api_key import Scope

_APPLICATION: Final = "seatsync-keys"


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    default=[Scope.READ.value, Scope.CLAIM.value],
    show_default=True,
    help="What the key may do; give it several times for several scopes.",
)
def create(name: str, scopes: tuple[str, ...]) -> None:
    """Make a key for NAME and print it, this once."""
    with database(_APPLICATION) as sessions, sessions.begin() as session:
        key = api_key.create(session, name, [Scope(scope) for scope in dict.fromkeys(scopes)])
    click.echo(key)
    click.echo("Keep it now: only its hash is stored.", err=True)


@keys.command("list")
def list_keys() -> None:
    """Show all keys, without their secrets."""
    table = Table("id", "name", "scopes", "created", "revoked")
    with database(_APPLICATION) as sessions, sessions.begin() as session:
        for key in api_key.all_keys(session):
            revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
            scopes = ", ".join(key.scopes)
            table.add_row(key.id, key.name, scopes, f"{key.created_at:%Y-%m-%d %H:%M}", revoked)
    Console().print(table)


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """End the key with the id KEY_ID; it stops working within five seconds."""
    with database(_APPLICATION) as sessions, sessions.begin() as session:
        revoked = api_key.revoke(session, key_id)
    if not revoked:
        click.echo(f"There is no live key with the id {key_id}. `seatsync keys list` shows them.", err=True)
        sys.exit(1)
    click.echo(f"Key {key_id} is revoked.")
