"""The command `seatsync migrate`: update the database schema for this release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

import migrations
from cli.connections import name_embedded_database, read_settings
from models import generation
from models.assignment import SharedAddress, shared_addresses
from models.database import connect, session_factory
from runtime import installation
from runtime.servers import running_servers
from runtime.settings import Settings
from runtime.wiring import read_catalog


@click.command()
@click.option(
    "--reassign",
    is_flag=True,
    help="Assign the database to the mode and business of these settings, even if it belonged to others.",
)
def migrate(*, reassign: bool) -> None:
    """Update the database schema, and put this catalogue into force if another one had replaced it."""
    settings = read_settings()
    with running_servers(settings) as running:
        name_embedded_database(settings)
        migrated = migrate_to_head(running, reassign=reassign)
    click.echo("The database is up to date.")
    if migrated.is_back:
        click.echo(
            "This catalogue was replaced before and is in force again. Processes with another one stop "
            "evaluating accounts."
        )
    _report(migrated.shared)


@dataclass(frozen=True, slots=True)
class Migrated:
    """The result of a migration.

    `is_back`: the catalogue had been replaced and is in force again. `shared`: members with the same e-mail
    address.
    """

    is_back: bool
    shared: Sequence[SharedAddress]


def migrate_to_head(settings: Settings, *, reassign: bool = False) -> Migrated:
    """Run all missing migrations and put the catalogue into force.

    Raises `SettingsError` if the database belongs to another mode or business, unless `reassign` is set.
    """
    catalog = read_catalog(settings)
    engine = connect(
        str(settings.direct_url),
        application="seatsync-migrate",
        is_declared_direct=settings.is_declared_direct,
    )
    try:
        migrations.upgrade(engine)
        with session_factory(engine).begin() as session:
            if reassign:
                installation.reassign(session, settings)
            installation.bind_in(session, settings)
            return Migrated(generation.activate(session, catalog), shared_addresses(session))
    finally:
        engine.dispose()


def _report(shared: Sequence[SharedAddress]) -> None:
    """Print the members with the same e-mail address. They are not merged."""
    if not shared:
        return
    click.echo("Members with the e-mail address of another member of their account; both keep their seats:")
    for pair in shared:
        click.echo(f"  {pair.account_id}: {pair.member_id} has the address of {pair.other_member_id}")
    click.echo(
        "Claims with such an address go to the second member. Release one of each pair, or change its "
        "address."
    )
