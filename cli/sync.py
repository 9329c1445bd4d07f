"""The command `seatsync sync`: sync one account, one subscription or everything now."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import click
from sqlalchemy.orm import Session

from cli.command_runtime import command_runtime
from cli.drift import in_a_line
from cli.full_sync import print_failed, sync_everything
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
    "--all", "all_", is_flag=True, help="Sync all subscriptions that differ from the provider's list."
)
@click.option("--full", is_flag=True, help="With --all: also sync every other known subscription.")
@click.option(
    "--subscription", is_flag=True, help="The argument is a subscription's id, whether known or not."
)
@click.option(
    "--wait",
    "patience",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for syncs; with --all, for a provider that does not respond.",
)
def sync(name: str | None, *, all_: bool, full: bool, subscription: bool, patience: int) -> None:
    """Sync with the provider now, and show what changed.

    The argument is the id of a known account (all of its subscriptions are synced) or of a known
    subscription. For an unknown subscription, add --subscription. With --all, the provider's whole list is
    read and every difference is synced, within the reconcile part of the request budget; if interrupted,
    workers continue. Exit code: 0 in sync, 1 something is held, dead or still to sync, 2 the command could
    not run.
    """
    if (name is None) != all_ or (full and not all_) or (subscription and name is None):
        raise click.UsageError("Give one ACCOUNT or SUBSCRIPTION, or --all (optionally with --full).")
    with command_runtime("seatsync-sync") as runtime:
        is_in_sync = (
            _sync_one(runtime, name, by_id=subscription, patience=patience)
            if name is not None
            else _sync_all(runtime, full=full, patience=patience)
        )
    click.echo("In sync." if is_in_sync else "Not in sync, see above.")
    sys.exit(0 if is_in_sync else 1)


def _sync_one(runtime: Runtime, name: str, *, by_id: bool, patience: float) -> bool:
    with runtime.sessions() as session:
        is_account, ids = _subscriptions(session, name, by_id=by_id)
        newest = audit.newest(session)
    sync_now = sync_account if is_account else sync_subscription
    done = sync_now(runtime, name, patience=patience)
    with runtime.sessions() as session:
        _print_changes(audit.changed_accounts(session, after=newest, subscription_ids=ids))
    _print_drift(done.drift)
    for one in done.waiting:
        state = "dead" if one.is_dead else "still to sync"
        click.echo(f"{state}: {one.subscription_id}: {one.reason or 'not started yet'}")
    return not done.waiting and not any(one.state == FindingState.HELD for one in done.drift)


def _subscriptions(session: Session, name: str, *, by_id: bool) -> tuple[bool, Sequence[str]]:
    """True if `name` is an account, and the ids of the subscriptions to sync.

    Raises `NotFound` if neither an account nor a subscription has this id, unless `by_id` is set.
    """
    if not name or has_control_characters(name) or (by_id and not is_id(name)):
        raise click.UsageError("The id is not valid for an account or a subscription.")
    if not by_id and session.get(Account, name) is not None:
        return True, [one.id for one in of_account(session, name)]
    if not by_id and session.get(Subscription, name) is None:
        raise NotFound(
            f"There is no account and no subscription {name!r}. Add --subscription to ask the provider for a "
            "subscription with this id."
        )
    return False, [name]


def _sync_all(runtime: Runtime, *, full: bool, patience: float) -> bool:
    with runtime.sessions() as session:
        newest, began_at = audit.newest(session), account.now(session)
    is_done = sync_everything(runtime, everything=full, patience=patience)
    with runtime.sessions() as session:
        _print_changes(audit.changed_accounts(session, after=newest))
        _print_drift(_drift(session, since=began_at))
        is_held = bool(drift_finding.count_by_cause(session, states=[FindingState.HELD]))
    has_failed = print_failed(runtime)
    return is_done and not is_held and not has_failed


def _drift(session: Session, *, since: datetime) -> Iterator[DriftFinding]:
    """All held findings, and the other findings that were found or repaired after `since`."""
    yield from drift_finding.page(session, states=[FindingState.HELD], after=None, limit=_SHOWN + 1)
    for one in drift_finding.changed_since(session, since, limit=_SHOWN + 1):
        if one.state != FindingState.HELD:
            yield one


def _print_changes(changes: Iterable[AccountChange]) -> None:
    lines = (
        f"{change.account_id}: {'; '.join(parts)}" for change in changes if (parts := list(_parts(change)))
    )
    count = 0
    for count, line in enumerate(lines, start=1):
        if count <= _SHOWN:
            click.echo(line)
    if count > _SHOWN:
        click.echo(f"... and {counted(count - _SHOWN, 'more account')}")
    if not count:
        click.echo("No account's seats changed.")


def _parts(change: AccountChange) -> Iterator[str]:
    before, after = _seats(change.before), _seats(change.after)
    for seat_type in sorted({*before, *after}):
        was, is_now = (seats.get(seat_type, EMPTY).purchased for seats in (before, after))
        if was != is_now:
            yield f"{seat_type} {was} -> {is_now}"
    was_status = change.before["status"] if change.before else None
    if was_status not in (None, change.after["status"]):
        yield f"status {was_status} -> {change.after['status']}"


def _seats(state: Json | None) -> dict[str, Balance]:
    return balances_from_json(state["seats"] if state else {})


def _print_drift(found: Iterable[DriftFinding]) -> None:
    for number, one in enumerate(found):
        if number == _SHOWN:
            click.echo("... and more: see `seatsync drift`")
            return
        click.echo(in_a_line(one))
        if one.held_because:
            click.echo(f"  {one.held_because}")
