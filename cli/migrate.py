"""`seatsync migrate`: bring the database up to date before a release."""

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
    help="Let the database belong to the mode and the business of these settings, whatever it did before.",
)
def migrate(*, reassign: bool) -> None:
    """Bring the database's schema up to date, and a catalogue that was replaced back into force."""
    settings = read_settings()
    with running_servers(settings) as running:
        name_embedded_database(settings)
        migrated = migrate_to_head(running, reassign=reassign)
    click.echo("The database is up to date.")
    if migrated.is_back:
        click.echo(
            "This catalogue was in force before and is again: processes with another one stop evaluating."
        )
    _report(migrated.shared)


@dataclass(frozen=True, slots=True)
class Migrated:
    """What to report of a migration.

    `is_back`: the catalogue had been replaced and is in force again. `shared`: members whom one address does
    not tell apart.
    """

    is_back: bool
    shared: Sequence[SharedAddress]


def migrate_to_head(settings: Settings, *, reassign: bool = False) -> Migrated:
    """Run every migration that is missing, and put the catalogue into force.

    Raises `SettingsError` if the database belongs to another mode or business, unless `reassign` is set.
    """
    catalog = read_catalog(settings)
    engine = connect(str(settings.database_url), application="seatsync-migrate")
    try:
        migrations.upgrade(engine)
        with session_factory(engine).begin() as session:
            if reassign:
                installation.reassign(session, settings)
            installation.claim_in(session, settings)
            return Migrated(generation.activate(session, catalog), shared_addresses(session))
    finally:
        engine.dispose()


def _report(shared: Sequence[SharedAddress]) -> None:
    """Name the members who have one address; nothing was merged."""
    if not shared:
        return
    click.echo("Members with an address that another member of the account has too; both keep their seats:")
    for one in shared:
        click.echo(f"  {one.account_id}: {one.member_id} has the address of {one.other_member_id}")
    click.echo(
        "Claims under such an address mean the second. Release, or give another address to, one of each."
    )
