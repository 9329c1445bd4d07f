"""`seatsync sync`: look at the provider now, for one customer or for all."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import click
from sqlalchemy.orm import Session

from cli.command_runtime import command_runtime
from cli.drift import in_a_line
from cli.full_sync import sync_everything, tell_failed
from domain.balance import EMPTY, Balance, balances_from_json
from domain.errors import NotFound
from domain.ids import has_control_characters, is_id
from domain.wording import counted
from models import account, audit, drift_finding
from models.account import Account
from models.audit import AccountChange
from models.base import Json
from models.drift_finding import DriftFinding, FindingState
from models.subscription import Subscription, of_account
from runtime.wiring import Runtime
from services.sync.on_demand import sync_account, sync_subscription

_SHOWN: Final = 50


@click.command()
@click.argument("name", metavar="[ACCOUNT|SUBSCRIPTION]", required=False)
@click.option(
    "--all", "all_", is_flag=True, help="All subscriptions that the provider's list shows otherwise."
)
@click.option("--full", is_flag=True, help="With --all: look at every subscription that is known here, too.")
@click.option("--subscription", is_flag=True, help="Take it for a subscription's id, known here or not.")
@click.option(
    "--wait",
    "patience",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for looks, or with --all for a provider that does not answer.",
)
def sync(name: str | None, *, all_: bool, full: bool, subscription: bool, patience: int) -> None:
    """Look at the provider now, and show what changed.

    A known account's id means all its subscriptions; else a known subscription's id means that one; any
    other is asked for at the provider only with --subscription. With --all the provider's list is read to
    its end and whatever differs is looked at, at the pace of the reconcile budget; stopped, the workers go
    on with it. Exit code: 0 all agrees, 1 something is held, given up on or still waits, 2 it could not run.
    """
    if (name is None) != all_ or (full and not all_) or (subscription and name is None):
        raise click.UsageError("Name one ACCOUNT or SUBSCRIPTION, or give --all, alone or with --full.")
    with command_runtime("seatsync-sync") as runtime:
        is_well = (
            _sync_one(runtime, name, by_id=subscription, patience=patience)
            if name is not None
            else _sync_all(runtime, full=full, patience=patience)
        )
    click.echo("All agrees." if is_well else "Not all agrees.")
    sys.exit(0 if is_well else 1)


def _sync_one(runtime: Runtime, name: str, *, by_id: bool, patience: float) -> bool:
    with runtime.sessions() as session:
        is_account, ids = _meant(session, name, by_id=by_id)
        newest = audit.newest(session)
    look = sync_account if is_account else sync_subscription
    done = look(runtime, name, patience=patience)
    with runtime.sessions() as session:
        _tell_moves(audit.changed_accounts(session, after=newest, subscription_ids=ids))
    _tell_drift(done.drift)
    for one in done.waiting:
        what = "given up on" if one.is_dead else "still waits"
        click.echo(f"{what}: {one.subscription_id}: {one.reason or 'its turn has not come'}")
    return not done.waiting and not any(one.state == FindingState.HELD for one in done.drift)


def _meant(session: Session, name: str, *, by_id: bool) -> tuple[bool, Sequence[str]]:
    """Whether an account is meant, and the subscriptions to be looked at."""
    if not name or has_control_characters(name) or (by_id and not is_id(name)):
        raise click.UsageError("No account or subscription can have such an id.")
    if not by_id and session.get(Account, name) is not None:
        return True, [one.id for one in of_account(session, name)]
    if not by_id and session.get(Subscription, name) is None:
        raise NotFound(
            f"No account and no subscription {name!r} is known here. With --subscription the provider is "
            "asked for a subscription of this id all the same."
        )
    return False, [name]


def _sync_all(runtime: Runtime, *, full: bool, patience: float) -> bool:
    with runtime.sessions() as session:
        newest, began_at = audit.newest(session), account.now(session)
    is_done = sync_everything(runtime, everything=full, patience=patience)
    with runtime.sessions() as session:
        _tell_moves(audit.changed_accounts(session, after=newest))
        _tell_drift(_drift(session, since=began_at))
        is_held = bool(drift_finding.count_by_cause(session, states=[FindingState.HELD]))
    has_failed = tell_failed(runtime)
    return is_done and not is_held and not has_failed


def _drift(session: Session, *, since: datetime) -> Iterator[DriftFinding]:
    """What is held, since whenever, and what else was found or repaired since then."""
    yield from drift_finding.page(session, states=[FindingState.HELD], after=None, limit=_SHOWN + 1)
    for one in drift_finding.changed_since(session, since, limit=_SHOWN + 1):
        if one.state != FindingState.HELD:
            yield one


def _tell_moves(moves: Iterable[AccountChange]) -> None:
    lines = (f"{move.account_id}: {'; '.join(told)}" for move in moves if (told := list(_moved(move))))
    count = 0
    for count, line in enumerate(lines, start=1):
        if count <= _SHOWN:
            click.echo(line)
    if count > _SHOWN:
        click.echo(f"... and {counted(count - _SHOWN, 'more account')}")
    if not count:
        click.echo("No account's seats changed.")


def _moved(move: AccountChange) -> Iterator[str]:
    before, after = _seats(move.before), _seats(move.after)
    for seat_type in sorted({*before, *after}):
        was, is_now = (seats.get(seat_type, EMPTY).purchased for seats in (before, after))
        if was != is_now:
            yield f"{seat_type} {was} -> {is_now}"
    was_status = move.before["status"] if move.before else None
    if was_status not in (None, move.after["status"]):
        yield f"status {was_status} -> {move.after['status']}"


def _seats(facts: Json | None) -> dict[str, Balance]:
    return balances_from_json(facts["seats"] if facts else {})


def _tell_drift(found: Iterable[DriftFinding]) -> None:
    for number, one in enumerate(found):
        if number == _SHOWN:
            click.echo("... and more: see `seatsync drift`")
            return
        click.echo(in_a_line(one))
        if one.held_because:
            click.echo(f"  {one.held_because}")
