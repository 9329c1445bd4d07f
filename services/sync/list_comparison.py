"""Compare pages of the provider's list with the stored subscriptions: request syncs, record what differs.

No value is copied from the list: it has no add-ons, and may be older than the last sync.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from domain import findings
from domain.drift import LISTED, Difference, differences, fingerprint, likely_cause
from domain.findings import Finding, FindingKind
from domain.snapshot import SubscriptionSnapshot
from models import drift_finding, inbox
from models.subscription import snapshot_from_json
from models.sync_queue import raise_hints

# Returns only subscriptions that are unknown or differ, and those that were missing from the list or at the
# provider before. OFFSET keeps the planner from reading the whole table instead of looking up each id.
_SELECT_DIFFERENT = sql(
    r"""
    SELECT listed.id, known.id IS NULL AS is_unknown, known.snapshot, known.verified_at, known.looked_at,
           known.fingerprint IS DISTINCT FROM listed.fingerprint AS has_other_fingerprint,
           known.hint > known.synced AND NOT known.routine AS is_pending
    FROM unnest(string_to_array(:ids, E'\n'), string_to_array(:fingerprints, E'\n'))
         AS listed (id, fingerprint)
    LEFT JOIN LATERAL (SELECT * FROM subscriptions WHERE id = listed.id OFFSET 0) AS known ON true
    WHERE known.fingerprint IS DISTINCT FROM listed.fingerprint OR known.unlisted_since IS NOT NULL
       OR known.id IN (SELECT subject FROM drift_findings WHERE kind = :missing AND closed_at IS NULL)
    """
)

# Equals no fingerprint.
_UNREADABLE: Final = "unreadable"

# In id order, as everywhere, to avoid deadlocks.
_LOCK = sql("SELECT FROM subscriptions WHERE id = ANY(cast(:ids AS text[])) ORDER BY id FOR UPDATE")

_MARK_LISTED = sql(
    """
    UPDATE subscriptions AS known
    SET fingerprint = coalesce(listed.fingerprint, known.fingerprint), unlisted_since = NULL
    FROM unnest(cast(:ids AS text[]), cast(:fingerprints AS text[])) AS listed (id, fingerprint)
    WHERE known.id = listed.id AND known.id = ANY(cast(:ids AS text[]))
    """
)

_Row = Row[Any]
_Differences = Sequence[Difference]


@dataclass(frozen=True, slots=True)
class PageComparison:
    """How many listed subscriptions were unknown, and how many differed from their stored snapshots."""

    unheard_of: int = 0
    differing: int = 0


def compare(
    session: Session,
    page: Sequence[SubscriptionSnapshot],
    *,
    unreadable: Sequence[str],
    as_of: datetime,
    expect_all_known: bool,
    trusted_for: timedelta,
) -> PageComparison:
    """Request a sync of every listed subscription that is unknown or differs, and record the differences.

    `unreadable` are the ids of listed subscriptions whose values could not be read. `as_of` is a database
    time before the page was requested. Not recorded: differences of subscriptions that have a sync pending or
    were synced after `as_of`, differences that a sync disproved within `trusted_for`, and unknown
    subscriptions unless `expect_all_known`.
    """
    listed = {snapshot.subscription_id: snapshot for snapshot in page}
    fingerprints = {name: fingerprint(snapshot) for name, snapshot in listed.items()}
    rows = _select_unlike(session, {**dict.fromkeys(unreadable, _UNREADABLE), **fingerprints})
    if not rows:
        return PageComparison()
    session.execute(_LOCK, {"ids": [row.id for row in rows]})
    stored = [row for row in rows if row.snapshot is not None and row.id in listed]
    changes = {row.id: _differences(row, listed[row.id]) for row in stored}
    _request_syncs(session, rows, changes)
    # A sync stores the new fingerprint of what differs. Without a difference, only its format has changed.
    _mark_listed(session, {name: None if changes[name] else fingerprints[name] for name in changes})
    unknown = [row.id for row in rows if row.is_unknown]
    comparable = [row for row in stored if not row.is_pending and not _was_synced_after(row, as_of)]
    found = _difference_findings(session, comparable, changes, trusted_for)
    if expect_all_known:
        found += [(name, findings.unheard_of(name)) for name in unknown]
    drift_finding.record_all(session, found)
    differing = sum(1 for fields in changes.values() if fields)
    return PageComparison(unheard_of=len(unknown), differing=differing)


def _select_unlike(session: Session, fingerprints: Mapping[str, str]) -> Sequence[_Row]:
    """The rows to compare. The parameters are two texts, which are much faster to build and parse than
    arrays; no id contains a line end.
    """
    parameters = {"ids": "\n".join(fingerprints), "fingerprints": "\n".join(fingerprints.values())}
    parameters["missing"] = FindingKind.NOT_AT_PROVIDER.value
    return session.execute(_SELECT_DIFFERENT, parameters).all()


def _differences(row: _Row, listed: SubscriptionSnapshot) -> _Differences:
    if not row.has_other_fingerprint:
        return ()
    return differences(snapshot_from_json(row.snapshot), listed, LISTED)


def _request_syncs(session: Session, rows: Sequence[_Row], changes: Mapping[str, _Differences]) -> None:
    """Request syncs of those that were never synced, that differ, or that are listed again after a gap."""
    never_synced = {row.id for row in rows if row.snapshot is None}
    differing = {name for name, fields in changes.items() if fields}
    listed_again = {row.id for row in rows if row.id in changes and not row.has_other_fingerprint}
    raise_hints(session, never_synced | differing | listed_again, routine=True)


def _mark_listed(session: Session, fingerprints: Mapping[str, str | None]) -> None:
    """Note that the list shows these, and store their fingerprints; None leaves the stored one as it is."""
    if fingerprints:
        parameters = {"ids": list(fingerprints), "fingerprints": list(fingerprints.values())}
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
        webhooks_arrive = newest is not None and newest > row.verified_at
        cause = likely_cause(changes[row.id], deliveries_arrive=webhooks_arrive)
        found += [(row.id, findings.differs(one, cause)) for one in changes[row.id]]
    return [(name, one) for name, one in found if (name, one.field, str(one.value)) not in disproved]
