"""What the provider's list shows beside what we know: what differs is written down and asked for.

Nothing is taken over from a list. It has no add-ons, and may be older than our last look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from models import finding
from models.schedule import raise_hints
from models.subscription import kept_snapshot
from seats import findings
from seats.drift import LISTED, Difference, differences, fingerprint, likely_cause
from seats.findings import Finding
from seats.snapshot import SubscriptionSnapshot

# Only what is not as we know it comes back. When a delivery last came is asked for once, if at all.
_COMPARE = sql(
    r"""
    SELECT listed.id, known.id IS NULL AS is_unheard_of, known.snapshot, known.verified_at,
           (SELECT max(received_at) FROM inbox) AS newest_arrival
    FROM unnest(string_to_array(:ids, E'\n'), string_to_array(:fingerprints, E'\n'))
         AS listed (id, fingerprint)
    LEFT JOIN subscriptions AS known ON known.id = listed.id
    WHERE known.fingerprint IS DISTINCT FROM listed.fingerprint
    """
)

_REFRESH = sql(
    """
    UPDATE subscriptions AS known SET fingerprint = listed.fingerprint
    FROM unnest(cast(:ids AS text[]), cast(:fingerprints AS text[])) AS listed (id, fingerprint)
    WHERE known.id = listed.id
    """
)

# What the list showed, in words, of a field of a subscription.
_Claim = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class Compared:
    """How many of the listed we had never heard of, and how many we knew otherwise."""

    unheard_of: int = 0
    differing: int = 0


def compare(
    session: Session,
    page: Sequence[SubscriptionSnapshot],
    *,
    trusted_for: timedelta,
    expect_all_known: bool,
) -> Compared:
    """Ask for a look at what is unheard of or differs on the page, and write down what differs.

    What a look did not confirm is left alone for the time `trusted_for`: there the list is at fault.
    Where not all were expected to be known, one that is not is no finding.
    """
    shown = {listed.subscription_id: listed for listed in page}
    prints = {name: fingerprint(listed) for name, listed in shown.items()}
    # As two texts, which are made and read much sooner than arrays; no id has a line end in it.
    asked = {"ids": "\n".join(prints), "fingerprints": "\n".join(prints.values())}
    rows = session.execute(_COMPARE, asked).all()
    if not rows:
        return Compared()
    known = [row for row in rows if row.snapshot is not None]
    disproved = finding.agreed_lately(session, [row.id for row in known], within=trusted_for)
    moved = {row.id: _confirmable(row, shown[row.id], disproved) for row in known}
    alike = [name for name, fields in moved.items() if not fields]
    differing = [name for name, fields in moved.items() if fields]
    raise_hints(session, [*(row.id for row in rows if row.snapshot is None), *differing], routine=True)
    _refresh(session, {name: prints[name] for name in alike})
    unheard_of = [shown[row.id] for row in rows if row.is_unheard_of]
    seen = list(_differences(known, moved))
    if expect_all_known:
        seen += [(listed.subscription_id, findings.unheard_of(listed)) for listed in unheard_of]
    finding.record_all(session, seen)
    return Compared(unheard_of=len(unheard_of), differing=len(differing))


def _confirmable(row: Row[Any], listed: SubscriptionSnapshot, disproved: set[_Claim]) -> list[Difference]:
    """What differs, but for what a look has lately found to be otherwise."""
    return [
        one
        for one in differences(kept_snapshot(row.snapshot), listed, LISTED)
        if (row.id, one.field, one.theirs) not in disproved
    ]


def _refresh(session: Session, prints: Mapping[str, str]) -> None:
    """Nothing differs but the fingerprint: it is made otherwise now, or the list is known to be wrong."""
    if prints:
        session.execute(_REFRESH, {"ids": list(prints), "fingerprints": list(prints.values())})


def _differences(
    known: Sequence[Row[Any]], moved: Mapping[str, Sequence[Difference]]
) -> Iterator[tuple[str, Finding]]:
    for row in known:
        arrive = row.newest_arrival is not None and row.newest_arrival > row.verified_at
        cause = likely_cause(moved[row.id], deliveries_arrive=arrive)
        yield from ((row.id, findings.differs(one, cause)) for one in moved[row.id])
