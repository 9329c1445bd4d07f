"""`seatsync explain ACCOUNT`: why the figures are what they are, for whoever answers the customer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import click

from cli.columns import printable
from cli.full_sync import ready
from cli.time_option import TimeOption, in_json, shown
from models.api_key import all_keys
from runtime.wiring import Runtime
from services.reports.explanation_document import document

Told = Mapping[str, Any]


@click.command()
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--since", type=TimeOption(), help="What moved the figures from then on; default: 30 days ago.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, as the API gives it.")
def explain(account_id: str, *, since: datetime | None, as_json: bool) -> None:
    """Explain the seats of ACCOUNT: the sum behind each figure, what gives the summands, what moved them, who
    is counted and who is not.

    Times are ISO 8601 with an offset, as 2026-11-22T12:00:00Z.
    """
    with ready("seatsync-explain") as runtime:
        told, names = document(runtime, account_id, since=since), _key_names(runtime)
    if as_json:
        click.echo(json.dumps(told, indent=2, default=in_json))
        return
    for line in _lines(_with_names(told, names)):
        click.echo(line)


def _key_names(runtime: Runtime) -> Mapping[str, str]:
    """What people call the keys that the audit knows by their ids."""
    with runtime.sessions() as session:
        return {f"key:{key.id}": f"key {printable(key.name)} ({key.id})" for key in all_keys(session)}


def _with_names(part: Any, names: Mapping[str, str]) -> Any:
    """The same with the name of every actor that has one."""
    if isinstance(part, dict):
        actors = {"actor": names.get(part["actor"], part["actor"])} if "actor" in part else {}
        return {name: _with_names(value, names) for name, value in part.items()} | actors
    return [_with_names(one, names) for one in part] if isinstance(part, list) else part


def _lines(told: Told) -> Iterator[str]:
    yield f"{told['account_id']}: {told['status']}, policy {told['policy']}, {shown(told['as_of'])}"
    if not told["is_current"]:
        yield "A date has come or the catalogue changed: the sums are ahead of the figures for a moment."
    for seat_type, figures in told["seats"].items():
        yield from _seats(seat_type, figures)
    yield "\nWhat gives seats"
    for source in told["sources"]:
        yield from _source(source)
    yield from _moves(told["moves"])
    yield from _people("Counted", told["counted"])
    yield from _people("Not counted", told["not_counted"])


def _seats(seat_type: str, figures: Told) -> Iterator[str]:
    yield f"\n{seat_type}: {figures['used']} of {figures['purchased']} used"
    yield f"  purchased: {figures['formula']}"
    for term in figures["terms"]:
        yield f"    {term['text']}: {term['catalog'] or 'no longer in the catalogue'}, by {term['source']}"
    yield f"  used: {figures['use']}"


def _source(source: Told) -> Iterator[str]:
    rule = f" ({source['rule']})" if source["rule"] else ""
    yield f"  {source['kind']} {source['name']}: {source['because']}{rule}"
    if source["kept"]:
        yield f"    the last good figures stand: {source['kept']}"
    if source["subscription"]:
        yield from _subscription(source["subscription"])


def _subscription(subscription: Told) -> Iterator[str]:
    if subscription["product_id"] is not None:
        cart = ", ".join(f"{one['quantity']} {one['addon_id']}" for one in subscription["addons"] or ())
        yield f"    {subscription['quantity']} {subscription['product_id']}{f', {cart}' if cart else ''}"
    looked = shown(subscription["verified_at"]) if subscription["verified_at"] else "never"
    only = "" if subscription["verified"] else "; only a webhook vouches for what it shows"
    yield f"    looked at {looked}{only}; linked by {subscription['linked_by']}"
    if subscription["last_change"]:
        yield f"    last changed {_cause(subscription['last_change'])}"


def _cause(change: Told) -> str:
    """`2026-11-22 12:00:00 UTC by key:app (claim: requested by the app), row 7`."""
    behind = (f", {word} {change[name]}" for word, name in _BEHIND.items() if change[name] is not None)
    why = f"{change['source']}: {change['reason']}"
    return f"{shown(change['at'])} by {change['actor']} ({why}), row {change['audit_id']}{''.join(behind)}"


_BEHIND = {"event": "event_id", "look": "fence"}


def _moves(moves: Told) -> Iterator[str]:
    yield f"\nMoved since {shown(moves['since'])}: {_count(moves['total'], moves['rows'])}"
    for row in moves["rows"]:
        subject = row["member_id"] or row["subscription_id"] or "the account"
        yield f"  {subject}: {row['text']}; {_cause(row)}"


def _people(title: str, people: Told) -> Iterator[str]:
    yield f"\n{title}: {_count(people['total'], people['members'])}"
    for one in people["members"]:
        by = f", by {one['by']['actor']} ({one['by']['source']})" if one["by"] else ""
        yield f"  {one['member_id']} ({one['role']}): {one['reason']}, since {shown(one['since'])}{by}"


def _count(total: int, listed: list[Any]) -> str:
    return f"{total}" if total == len(listed) else f"{total}, of which {len(listed)} are shown"
