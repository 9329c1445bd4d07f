"""The commands `seatsync catalog check` and `seatsync catalog diff`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from cli.catalog.diff import AccountChange, changes
from cli.connections import database
from domain import role_names
from domain.catalog.model import FREE
from domain.wording import counted
from runtime.catalogs import load_catalog
from services.ledger.role_moves import RoleMove

# Without the argument, the file is the one in SEATSYNC_CATALOG. No other setting is needed for a check.
_FILE = click.argument(
    "file", envvar="SEATSYNC_CATALOG", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)


@click.group()
def catalog() -> None:
    """Check a catalogue, and show what it would change."""


@catalog.command()
@_FILE
def check(file: Path) -> None:
    """Check the catalogue FILE (default: SEATSYNC_CATALOG) and print its mistakes, or a summary.

    Warns about roles that differ only in letter case or whitespace. Exit code: 0 valid, 2 invalid.
    """
    found = load_catalog(file)
    free = sum(seat_type is None for seat_type in found.roles.values())
    click.echo(f"{file} is valid.")
    click.echo(f"  seat types: {', '.join(found.seat_types)}")
    click.echo(f"  products: {len(found.products)}, contracts: {len(found.contracts)}")
    click.echo(f"  roles: {len(found.roles)}, {free} of them free")
    click.echo(f"  policy: {found.defaults.policy}")
    for warning in role_names.warnings(found):
        click.echo(f"warning: {warning}")


@catalog.command()
@_FILE
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document with all members who would move."
)
@click.option(
    "--names",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How many of the members who would move are listed per account.",
)
def diff(file: Path, *, as_json: bool, names: int) -> None:
    """Show what the catalogue FILE (default: SEATSYNC_CATALOG) would change in each account.

    Compares it with the figures in the database; writes nothing. Accounts that would not change are left out.
    """
    new_catalog = load_catalog(file)
    with database("seatsync-catalog") as sessions:
        found = changes(sessions, new_catalog)
        if as_json:
            _print_json(found)
        else:
            _print(found, names)


def _print(found: Iterable[AccountChange], names: int) -> None:
    total = Counter[str]()
    for change in found:
        total += _counted(change)
        click.echo(f"{change.account_id}: {'; '.join(_facts(change))}")
        for move in islice(change.moves, names):
            click.echo(f"  {move.member_id} ({move.role}): {_name(move.before)} -> {_name(move.after)}")
        if len(change.moves) > names > 0:
            click.echo(f"  ... and {len(change.moves) - names} more")
    click.echo(
        f"{counted(total['accounts'], 'account')} would change, "
        f"{counted(total['moves'], 'member moves', 'members move')}, "
        f"{counted(total['over'], 'account goes over its limit', 'accounts go over their limit')}. "
        "Nothing was written."
    )


def _facts(change: AccountChange) -> Iterator[str]:
    for seat_type, (before, after) in change.purchased.items():
        yield f"{seat_type} {before} -> {after}"
    for seat_type, (was, will_be) in change.policies.items():
        yield f"policy of {seat_type} {was} -> {will_be}"
    if change.status:
        yield f"status {change.status[0]} -> {change.status[1]}"
    for seat_type, overage in change.newly_over.items():
        yield f"OVER by {overage} {seat_type}"
    if change.moves:
        yield counted(len(change.moves), "member moves", "members move")
    for role in change.unknown_roles:
        yield f"the role {role} is not in the catalogue: its members keep their seat type"


def _print_json(found: Iterable[AccountChange]) -> None:
    """Print account by account, so that memory use does not grow with their number."""
    total, comma = Counter[str](), ""
    click.echo('{"accounts": [', nl=False)
    for change in found:
        total += _counted(change)
        click.echo(f"{comma}\n{json.dumps(_document(change))}", nl=False)
        comma = ","
    totals = {name: total[name] for name in ("accounts", "moves", "over")}
    click.echo(f'\n], "totals": {json.dumps(totals)}}}')


def _document(change: AccountChange) -> dict[str, Any]:
    return {
        "account_id": change.account_id,
        "purchased": {name: _pair(pair) for name, pair in change.purchased.items()},
        "policy": {name: _pair(pair) for name, pair in change.policies.items()},
        "status": _pair(change.status) if change.status else None,
        "over": change.newly_over,
        "moves": [_move(move) for move in change.moves],
        "unknown_roles": list(change.unknown_roles),
    }


def _pair(pair: tuple[object, object]) -> dict[str, object]:
    return {"before": pair[0], "after": pair[1]}


def _move(move: RoleMove) -> dict[str, str]:
    return {
        "member_id": move.member_id,
        "role": move.role,
        "before": _name(move.before),
        "after": _name(move.after),
    }


def _counted(change: AccountChange) -> Counter[str]:
    return Counter(accounts=1, moves=len(change.moves), over=int(bool(change.newly_over)))


def _name(seat_type: str | None) -> str:
    return seat_type or FREE
