"""Commands that a process manager runs: migrate before a release, sweep beside the workers."""

from __future__ import annotations

from collections.abc import Sequence

import click

import migrations
from models.assignment import SharedAddress, shared_addresses
from models.session import connect, sessions_of
from runtime.logs import configure
from runtime.servers import running_servers
from runtime.settings import Settings
from runtime.wiring import build
from worker.celery_app import SeatSync
from worker.sweep import Sweep
from worker.sweeper import run


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    with running_servers(Settings.from_env()) as settings:
        shared = migrate_to_head(settings)
    click.echo("The database is up to date.")
    _report(shared)


def migrate_to_head(settings: Settings) -> Sequence[SharedAddress]:
    """Run every migration that is missing; return the members whom one address does not tell apart."""
    engine = connect(str(settings.database_url), application="seatsync-migrate")
    try:
        migrations.upgrade(engine)
        with sessions_of(engine)() as session:
            return shared_addresses(session)
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


@click.command()
def sweeper() -> None:
    """Ring for every row that is due, and work it off here while the broker is away."""
    configure()
    with running_servers(Settings.from_env()) as settings:
        runtime = build(settings, pool_size=2, application="seatsync-sweeper")
        app = SeatSync(settings)
        run(
            Sweep(runtime, app.publish, app.announce, app.ring_for_reconcile, app.ring_for_changes),
            settings.sweep_seconds,
        )
        runtime.close()
