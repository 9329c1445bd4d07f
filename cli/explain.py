"""The command `seatsync explain`: explain an account's seat figures, for example to a support engineer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import click

from cli.columns import printable
from cli.command_runtime import command_runtime
from cli.time_option import TimeOption, shown
from domain.times import iso_time
from models.api_key import all_keys
from runtime.wiring import Runtime
from services.reports.explanation_document import document

Document = Mapping[str, Any]


@click.command()
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--since", type=TimeOption(), help="Show changes from this time on; default: 30 days ago.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, the same as from the API.")
def explain(account_id: str, *, since: datetime | None, as_json: bool) -> None:
    """Explain the seats of ACCOUNT: the sum of each figure, the sources of its terms, recent changes, and who
    is counted.

    Times are ISO 8601 with an offset, such as 2026-11-22T12:00:00Z.
    """
    with command_runtime("seatsync-explain") as runtime:
        explained, names = document(runtime, account_id, since=since), _key_names(runtime)
    if as_json:
        click.echo(json.dumps(explained, indent=2, default=iso_time))
        return
    for line in _lines(_with_names(explained, names)):
        click.echo(line)


def _key_names(runtime: Runtime) -> Mapping[str, str]:
    """The names of the API keys, by the actor that the audit stores for each."""
    with runtime.sessions() as session:
        return {f"key:{key.id}": f"key {printable(key.name)} ({key.id})" for key in all_keys(session)}


def _with_names(part: Any, names: Mapping[str, str]) -> Any:
    """The document with actors replaced by their names, if they have one."""
    if isinstance(part, dict):
        actors = {"actor": names.get(part["actor"], part["actor"])} if "actor" in part else {}
        return {name: _with_names(value, names) for name, value in part.items()} | actors
    return [_with_names(one, names) for one in part] if isinstance(part, list) else part


def _lines(explained: Document) -> Iterator[str]:
    status = f"{explained['status']}, policy {explained['policy']}, {shown(explained['as_of'])}"
    yield f"{explained['account_id']}: {status}"
    if not explained["is_current"]:
        yield "A deadline has passed or the catalogue changed; the stored figures do not show it yet."
    for seat_type, figures in explained["seats"].items():
        yield from _seats(seat_type, figures)
    yield "\nSources of seats"
    for source in explained["sources"]:
        yield from _source(source)
    yield from _changes(explained["moves"])
    yield from _people("Counted", explained["counted"])
    yield from _people("Not counted", explained["not_counted"])


def _seats(seat_type: str, figures: Document) -> Iterator[str]:
    yield f"\n{seat_type}: {figures['used']} of {figures['purchased']} used"
    yield f"  purchased: {figures['formula']}"
    for term in figures["terms"]:
        yield f"    {term['text']}: {term['catalog'] or 'no longer in the catalogue'}, by {term['source']}"
    yield f"  used: {figures['use']}"


def _source(source: Document) -> Iterator[str]:
    rule = f" ({source['rule']})" if source["rule"] else ""
    yield f"  {source['kind']} {source['name']}: {source['because']}{rule}"
    if source["kept"]:
        yield f"    the last good figures are used: {source['kept']}"
    if source["subscription"]:
        yield from _subscription(source["subscription"])


def _subscription(subscription: Document) -> Iterator[str]:
    if subscription["product_id"] is not None:
        cart = ", ".join(f"{one['quantity']} {one['addon_id']}" for one in subscription["addons"] or ())
        yield f"    {subscription['quantity']} {subscription['product_id']}{f', {cart}' if cart else ''}"
    synced = shown(subscription["verified_at"]) if subscription["verified_at"] else "never"
    unverified = "" if subscription["verified"] else "; its figures come from a webhook and are not confirmed"
    yield f"    last synced: {synced}{unverified}; linked by {subscription['linked_by']}"
    if subscription["last_change"]:
        yield f"    last changed {_cause(subscription['last_change'])}"


def _cause(change: Document) -> str:
    """`2026-11-22 12:00:00 UTC by key:app (claim: requested by the app), row 7`."""
    causes = (f", {word} {change[name]}" for word, name in _CAUSES.items() if change[name] is not None)
    why = f"{change['source']}: {change['reason']}"
    return f"{shown(change['at'])} by {change['actor']} ({why}), row {change['audit_id']}{''.join(causes)}"


_CAUSES = {"event": "event_id", "sync": "fence"}


def _changes(moves: Document) -> Iterator[str]:
    yield f"\nChanged since {shown(moves['since'])}: {_count(moves['total'], moves['rows'])}"
    for row in moves["rows"]:
        subject = row["member_id"] or row["subscription_id"] or "the account"
        yield f"  {subject}: {row['text']}; {_cause(row)}"


def _people(title: str, people: Document) -> Iterator[str]:
    yield f"\n{title}: {_count(people['total'], people['members'])}"
    for one in people["members"]:
        by = f", by {one['by']['actor']} ({one['by']['source']})" if one["by"] else ""
        yield f"  {one['member_id']} ({one['role']}): {one['reason']}, since {shown(one['since'])}{by}"


def _count(total: int, listed: list[Any]) -> str:
    return f"{total}" if total == len(listed) else f"{total}, {len(listed)} of them shown"
