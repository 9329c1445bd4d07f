"""Every command of the command line with arguments that are right, for promises that all commands keep.

Those that become another program at once are not among them: the program keeps the promises.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

EVERY_COMMAND = (
    "audit export acme",
    "audit verify",
    "backfill --wait 0",
    "budget",
    "catalog check",
    "catalog diff",
    "demo",
    "doctor",
    "drift",
    "explain acme",
    "import members people.csv",
    "keys create backend",
    "keys list",
    "keys revoke some",
    "members erase ada --yes",
    "migrate",
    "replay --all",
    "sweeper",
    "sync acme",
    "up",
)
BECOMES_ANOTHER_PROGRAM = {"beat", "web", "worker"}
MAY_CREATE_SERVERS = {"demo", "migrate", "up"}
NEEDS_NO_SERVER = {"catalog check"}
NEEDS_NO_DATABASE = {"budget", "catalog check", "demo"}
PEOPLE = "account_id,member_id,role\nacme,ada,member\n"


def names(group: click.Group, path: str = "") -> Iterator[str]:
    """The names of all commands below the group, as they are typed."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        typed = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from names(command, typed)
        else:
            yield typed
