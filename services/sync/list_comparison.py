"""Compare pages of the provider's list with the stored subscriptions: request syncs, record what differs.

No value is copied from the list: it has no add-ons, and may be older than the last sync.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from domain import findings
from domain.drift import LISTED, Difference, differences, likely_cause
from domain.findings import Finding, FindingKind
from models import drift_finding, inbox
from models.base import Json
from models.driver import all_rows
from models.subscription import snapshot_from_json
from models.sync_queue import raise_hints
from providers.base import ListItem

# Returns only subscriptions that are unknown or differ, and those that were missing from the list or at the
# provider before. OFFSET keeps the planner from reading the whole table instead of looking up each id. The
# parameters are two texts, which are much faster to build and parse than arrays; no id contains a line end.
_SELECT_UNLIKE: Final = r"""
    WITH missing AS (SELECT subject FROM drift_findings WHERE kind = %(missing)s AND closed_at IS NULL)
    SELECT listed.id, known.id IS NULL, known.snapshot, known.verified_at, known.looked_at,
           known.fingerprint IS DISTINCT FROM listed.fingerprint,
           known.unlisted_since IS NOT NULL OR known.id IN (SELECT subject FROM missing),
           known.hint > known.synced AND NOT known.routine, known.fingerprint
    FROM unnest(string_to_array(%(ids)s, E'\n'), string_to_array(%(fingerprints)s, E'\n'))
         AS listed (id, fingerprint)
    LEFT JOIN LATERAL (SELECT * FROM subscriptions WHERE id = listed.id OFFSET 0) AS known ON true
    WHERE known.fingerprint IS DISTINCT FROM listed.fingerprint OR known.unlisted_since IS NOT NULL
       OR known.id IN (SELECT subject FROM missing)
"""

# In id order, as everywhere, to avoid deadlocks.
_LOCK = sql("SELECT FROM subscriptions WHERE id = ANY(cast(:ids AS text[])) ORDER BY id FOR UPDATE")

# The rows were compared before they were locked. If a sync has stored other values since, the list item's
# fingerprint does not stand for them. So the sync's own is kept, and the next pass compares the values again.
_MARK_LISTED = sql(
    """
    UPDATE subscriptions AS known
    SET fingerprint = CASE WHEN known.fingerprint IS NOT DISTINCT FROM listed.compared
                           THEN coalesce(listed.fingerprint, known.fingerprint) ELSE known.fingerprint END,
        unlisted_since = NULL
    FROM unnest(cast(:ids AS text[]), cast(:fingerprints AS text[]), cast(:compared AS text[]))
         AS listed (id, fingerprint, compared)
    WHERE known.id = listed.id AND known.id = ANY(cast(:ids AS text[]))
    """
)

_Differences = Sequence[Difference]


class _Row(NamedTuple):
    """A listed subscription that is not alike, and what is stored about it."""

    id: str
    is_unknown: bool
    snapshot: Json | None
    verified_at: datetime | None
    looked_at: datetime | None
    has_other_fingerprint: bool
    was_missing: bool
    is_pending: bool
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class PageComparison:
    """How many listed subscriptions were unknown, and how many differed from their stored snapshots."""

    unheard_of: int = 0
    differing: int = 0


def compare(
    session: Session,
    page: Sequence[ListItem],
    *,
    as_of: datetime,
    expect_all_known: bool,
    trusted_for: timedelta,
) -> PageComparison:
    """Request a sync of every listed subscription that is unknown or differs, and record the differences.

    `as_of` is a database time before the page was requested. Not recorded: differences of subscriptions that
    have a sync pending or were synced after `as_of`, differences that a sync disproved within `trusted_for`,
    and unknown subscriptions unless `expect_all_known`.
    """
    items = {item.subscription_id: item for item in page}
    rows = _select_unlike(session, items.values())
    if not rows:
        return PageComparison()
    session.execute(_LOCK, {"ids": [row.id for row in rows]})
    changes = _changes(rows, items)
    stored = [row for row in rows if row.id in changes]
    _request_syncs(session, rows, changes)
    # A sync stores the new values of what differs. Without a difference, it was written in another way.
    _mark_listed(session, stored, [None if changes[row.id] else items[row.id].fingerprint for row in stored])
    unknown = [row.id for row in rows if row.is_unknown]
    comparable = [row for row in stored if not row.is_pending and not _was_synced_after(row, as_of)]
    found = _difference_findings(session, comparable, changes, trusted_for)
    if expect_all_known:
        found += [(name, findings.unheard_of(name)) for name in unknown]
    drift_finding.record_all(session, found)
    differing = sum(1 for fields in changes.values() if fields)
    return PageComparison(unheard_of=len(unknown), differing=differing)


def _select_unlike(session: Session, items: Iterable[ListItem]) -> Sequence[_Row]:
    parameters = {
        "ids": "\n".join([item.subscription_id for item in items]),
        "fingerprints": "\n".join([item.fingerprint for item in items]),
        "missing": FindingKind.NOT_AT_PROVIDER.value,
    }
    return [_Row(*row) for row in all_rows(session, _SELECT_UNLIKE, parameters)]


def _changes(rows: Sequence[_Row], items: Mapping[str, ListItem]) -> dict[str, _Differences]:
    """The differences of each stored subscription, without those that cannot be read from the list."""
    changes: dict[str, _Differences] = {}
    for row in rows:
        if row.snapshot is None:
            continue
        if not row.has_other_fingerprint:
            changes[row.id] = ()
        elif (listed := items[row.id].read()) is not None:
            changes[row.id] = differences(snapshot_from_json(row.snapshot), listed, LISTED)
    return changes


def _request_syncs(session: Session, rows: Sequence[_Row], changes: Mapping[str, _Differences]) -> None:
    """Request syncs of those that were never synced, that differ, or that are listed again after a gap."""
    never_synced = {row.id for row in rows if row.snapshot is None}
    differing = {name for name, fields in changes.items() if fields}
    listed_again = {row.id for row in rows if row.id in changes and row.was_missing}
    raise_hints(session, never_synced | differing | listed_again, routine=True)


def _mark_listed(session: Session, rows: Sequence[_Row], fingerprints: Sequence[str | None]) -> None:
    """Note that the list shows these, and store their fingerprints; None leaves the stored one as it is."""
    if rows:
        parameters = {
            "ids": [row.id for row in rows],
            "fingerprints": fingerprints,
            "compared": [row.fingerprint for row in rows],
        }
        session.execute(_MARK_LISTED, parameters)


def _was_synced_after(row: _Row, moment: datetime) -> bool:
    return row.looked_at is not None and row.looked_at >= moment


def _difference_findings(
    session: Session,
    rows: Sequence[_Row],
    changes: Mapping[str, _Differences],
    trusted_for: timedelta,
) -> list[tuple[str, Finding]]:
    """Subscription id and finding of each difference that no sync has disproved within `trusted_for`."""
    differing = [row for row in rows if changes[row.id]]
    if not differing:
        return []
    newest = inbox.newest_arrival(session)
    disproved = drift_finding.recently_disproved(session, [row.id for row in differing], within=trusted_for)
    found = []
    for row in differing:
        webhooks_arrive = newest is not None and row.verified_at is not None and newest > row.verified_at
        cause = likely_cause(changes[row.id], deliveries_arrive=webhooks_arrive)
        found += [(row.id, findings.differs(one, cause)) for one in changes[row.id]]
    return [(name, one) for name, one in found if (name, one.field, str(one.value)) not in disproved]
