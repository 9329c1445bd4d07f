"""A page of the provider's list beside what we know: what differs is written down and asked for.

Nothing is taken over from a list. It has no add-ons, and may be older than our last look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Row
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from models import finding, inbox
from models.reconcile_pass import Found, Walk
from models.schedule import raise_hints
from models.subscription import kept_snapshot
from seats import findings
from seats.drift import LISTED, Difference, differences, fingerprint, likely_cause
from seats.findings import Finding
from seats.snapshot import SubscriptionSnapshot

# One statement a page: what the list shows is noted, and only what is not as we know it comes back.
_COMPARE = sql(
    """
    WITH listed (id, fingerprint) AS (
        SELECT * FROM unnest(cast(:ids AS text[]), cast(:fingerprints AS text[]))
    ), noted AS (
        INSERT INTO reconcile_sightings (pass_id, subscription_id)
        SELECT :pass_id, id FROM listed
        ON CONFLICT DO NOTHING
    )
    SELECT listed.id, listed.fingerprint, known.id IS NULL AS is_unheard_of, known.snapshot, known.verified_at
    FROM listed LEFT JOIN subscriptions AS known ON known.id = listed.id
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


def compare(
    session: Session, walk: Walk, page: Sequence[SubscriptionSnapshot], *, trusted_for: timedelta
) -> Found:
    """Ask for a look at what is unheard of or differs on the page, and write down what differs.

    What a look did not confirm is left alone for the time `trusted_for`: there the list is at fault.
    """
    shown = {listed.subscription_id: listed for listed in page}
    prints = {name: fingerprint(listed) for name, listed in shown.items()}
    asked = {"pass_id": walk.pass_id, "ids": list(prints), "fingerprints": list(prints.values())}
    rows = session.execute(_COMPARE, asked).all()
    never_seen = [row.id for row in rows if row.snapshot is None]
    known = [row for row in rows if row.snapshot is not None]
    disproved = finding.agreed_lately(session, [row.id for row in known], within=trusted_for)
    moved = {row.id: _confirmable(row, shown[row.id], disproved) for row in known}
    alike = [name for name, fields in moved.items() if not fields]
    raise_hints(session, [*never_seen, *(name for name, fields in moved.items() if fields)], routine=True)
    _refresh(session, {name: prints[name] for name in alike})
    unheard_of = [shown[row.id] for row in rows if row.is_unheard_of]
    finding.record_all(session, _findings(session, known, moved))
    if not walk.is_first:
        surprises = [(listed.subscription_id, findings.unheard_of(listed)) for listed in unheard_of]
        finding.record_all(session, surprises)
    return Found(
        listed=len(page),
        unheard_of=len(unheard_of),
        differing=len(moved) - len(alike),
        last=page[-1].subscription_id if page else None,
        oldest=page[-1].created_at if page else walk.oldest,
        newest_first=_newest_first(walk, page),
    )


def _newest_first(walk: Walk, page: Sequence[SubscriptionSnapshot]) -> bool:
    """Whether everything listed until now is older than what was listed before it."""
    born = [listed.created_at for listed in page]
    before = born if walk.oldest is None else [walk.oldest, *born]
    return walk.newest_first and all(one and after and one > after for one, after in pairwise(before))


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


def _findings(
    session: Session, known: Sequence[Row[Any]], moved: Mapping[str, Sequence[Difference]]
) -> Iterator[tuple[str, Finding]]:
    if not any(moved.values()):
        return
    newest = inbox.newest_arrival(session)
    for row in known:
        cause = likely_cause(moved[row.id], deliveries_arrive=newest is not None and newest > row.verified_at)
        yield from ((row.id, findings.differs(one, cause)) for one in moved[row.id])
