"""The commands `seatsync keys create`, `list` and `revoke`: API keys for app backends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import click

from cli.columns import aligned, printable
from cli.connections import database
from models import api_key
from models.api_key import ApiKey, Scope

_APPLICATION: Final = "seatsync-keys"
_LONGEST_NAME: Final = 100


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
    help="What the key may do; may be repeated.",
)
def create(name: str, scopes: tuple[str, ...]) -> None:
    """Create a key for NAME and print it. It is not shown again."""
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise click.UsageError(f"NAME must be 1 to {_LONGEST_NAME} printable characters.")
    with database(_APPLICATION) as sessions, sessions.begin() as session:
        # Printed before the commit, so that a key that could not be printed is not valid.
        click.echo(api_key.create(session, name, [Scope(scope) for scope in dict.fromkeys(scopes)]))
    click.echo("Store it now: only its hash is kept here.", err=True)


@keys.command("list")
def list_keys() -> None:
    """List all keys without their secrets."""
    with database(_APPLICATION) as sessions, sessions.begin() as session:
        rows = [_row(key) for key in api_key.all_keys(session)]
    for line in aligned([("id", "name", "scopes", "created", "revoked"), *rows]):
        click.echo(line)


def _row(key: ApiKey) -> Sequence[str]:
    revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
    return key.id, printable(key.name), ", ".join(key.scopes), f"{key.created_at:%Y-%m-%d %H:%M}", revoked


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke the key with the id KEY_ID. It stops working within five seconds."""
    with database(_APPLICATION) as sessions, sessions.begin() as session:
        revoked = api_key.revoke(session, key_id)
    if not revoked:
        click.echo(
            f"There is no active key with the id {key_id}. `seatsync keys list` lists all keys.", err=True
        )
        sys.exit(1)
    click.echo(f"Key {key_id} is revoked.")
