"""The command `seatsync drift`: list and dismiss differences from the provider."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import click
from sqlalchemy.orm import Session

from cli.command_runtime import command_runtime
from domain.times import iso_time
from domain.wording import counted
from models import drift_finding
from models.drift_finding import DriftFinding, FindingState
from services.reports.drift import finding_shown

_UNRESOLVED: Final = (FindingState.OPEN.value, FindingState.HELD.value)
_PAGE_SIZE: Final = 500

Counts = Mapping[tuple[str, str], int]


@click.command()
@click.option(
    "--state",
    "states",
    type=click.Choice([state.value for state in FindingState]),
    multiple=True,
    default=_UNRESOLVED,
    help="Findings in this state; may be repeated. Default: unresolved findings, open and held.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="Maximum number of findings."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--dismiss",
    "dismissed",
    type=click.IntRange(1),
    metavar="ID",
    help="Dismiss the held finding with this number.",
)
@click.option("--reason", help="Why it may be dismissed; stored with the finding.")
def drift(
    states: tuple[str, ...], *, limit: int, as_json: bool, dismissed: int | None, reason: str | None
) -> None:
    """Show drift findings, oldest first: first seen, subject, our value -> the provider's, likely cause.

    The next sync repairs `open` findings. For a `held` finding a person has to do what its message says, or
    dismiss it with a reason. Exit code: 0 no unresolved findings, 1 there are some.
    """
    if (dismissed is None) != (reason is None or not reason.strip()):
        raise click.UsageError("Use --dismiss ID and --reason TEXT together.")
    if dismissed is not None and reason is not None:
        _dismiss(dismissed, reason.strip())
        return
    with command_runtime("seatsync-drift") as runtime, runtime.sessions() as session:
        found = _first(session, states, limit)
        counts = drift_finding.count_by_cause(session, states=states)
        unresolved = drift_finding.count_by_cause(session, states=_UNRESOLVED)
        if as_json:
            _print_json(list(found), counts)
        elif counts:
            _print(found, counts)
        else:
            click.echo(_nothing(sum(unresolved.values())))
    sys.exit(1 if unresolved else 0)


def _dismiss(finding_id: int, reason: str) -> None:
    with command_runtime("seatsync-drift") as runtime, runtime.sessions.begin() as session:
        closed = drift_finding.dismiss(session, finding_id, reason)
        click.echo(f"Dismissed: {closed.subject} {closed.field} ({closed.kind}).")


def in_a_line(one: DriftFinding) -> str:
    """`held sub_1 quantity: 1 -> 3 (portal_change)`."""
    sides = " -> ".join(side for side in (one.ours, one.theirs) if side is not None)
    return f"{one.state:<8} {one.subject} {one.field}{sides and f': {sides}'} ({one.cause})"


def _first(session: Session, states: Sequence[str], limit: int) -> Iterator[DriftFinding]:
    after, left = None, limit
    while left and (
        page := drift_finding.page(session, states=states, after=after, limit=min(left, _PAGE_SIZE))
    ):
        yield from page
        after, left = page[-1].id, left - len(page)
        session.expunge_all()  # free the memory of the rows that were shown


def _print(found: Iterator[DriftFinding], counts: Counts) -> None:
    shown = 0
    for one in found:
        shown += 1
        click.echo(f"#{one.id} {_since(one.first_seen)} {in_a_line(one)}")
        for text in dict.fromkeys((one.message, one.held_because)):
            if text:
                click.echo(f"  {text}")
        if one.closed_because:
            click.echo(f"  Dismissed: {one.closed_because}")
    if (more := sum(counts.values()) - shown) > 0:
        click.echo(f"... and {more} more; raise --limit to see more")
    for (state, cause), count in counts.items():
        click.echo(f"{count} {state}, likely cause {cause}")


def _nothing(unresolved: int) -> str:
    """The message if no finding is in the requested states. Unresolved ones in others set the exit code."""
    if unresolved:
        return f"No findings in this state; {counted(unresolved, 'unresolved finding')} in others."
    return "No findings."


def _print_json(found: Sequence[DriftFinding], counts: Counts) -> None:
    document = {
        "findings": [finding_shown(one) for one in found],
        "counts": [
            {"state": state, "likely_cause": cause, "count": count}
            for (state, cause), count in counts.items()
        ],
    }
    click.echo(json.dumps(document, indent=2, default=iso_time))


def _since(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M UTC}"
