"""What the provider's list shows beside what we know: what differs is written down and asked for.

Nothing is taken over from a list. It has no add-ons, and may be older than our last look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

# Only what is not as we know it comes back, or what was not listed or not at the provider before. Each is
# looked up by its id (OFFSET keeps the planner from reading the whole table): pages cost what is on them.
_COMPARE = sql(
    r"""
    SELECT listed.id, known.id IS NULL AS is_unheard_of, known.snapshot, known.verified_at, known.looked_at,
           known.fingerprint IS DISTINCT FROM listed.fingerprint AS is_otherwise,
           known.hint > known.synced AND NOT known.routine AS is_waited_for
    FROM unnest(string_to_array(:ids, E'\n'), string_to_array(:fingerprints, E'\n'))
         AS listed (id, fingerprint)
    LEFT JOIN LATERAL (SELECT * FROM subscriptions WHERE id = listed.id OFFSET 0) AS known ON true
    WHERE known.fingerprint IS DISTINCT FROM listed.fingerprint OR known.unlisted_since IS NOT NULL
       OR known.id IN (SELECT subject FROM drift_findings WHERE kind = :missing AND closed_at IS NULL)
    """
)

# Nobody's fingerprint.
_UNREADABLE: Final = "unreadable"

# In the order in which everybody locks many of them.
_LOCK = sql("SELECT FROM subscriptions WHERE id = ANY(cast(:ids AS text[])) ORDER BY id FOR UPDATE")

_REFRESH = sql(
    """
    UPDATE subscriptions AS known
    SET fingerprint = coalesce(listed.fingerprint, known.fingerprint), unlisted_since = NULL
    FROM unnest(cast(:ids AS text[]), cast(:fingerprints AS text[])) AS listed (id, fingerprint)
    WHERE known.id = listed.id AND known.id = ANY(cast(:ids AS text[]))
    """
)


@dataclass(frozen=True, slots=True)
class PageComparison:
    """How many of the listed we had never heard of, and how many we knew otherwise."""

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
    """Ask for a look at what is unheard of or differs on the page, and write down what differs.

    No finding is what somebody is waiting for already, what was looked at after `as_of`, before which the
    page was not asked for, and what a look has found to be otherwise within `trusted_for`: there the list is
    behind. Where not all were `expect_all_known`, one that is not is no finding either.
    """
    shown = {listed.subscription_id: listed for listed in page}
    prints = {name: fingerprint(listed) for name, listed in shown.items()}
    rows = _unlike(session, {**dict.fromkeys(unreadable, _UNREADABLE), **prints})
    if not rows:
        return PageComparison()
    session.execute(_LOCK, {"ids": [row.id for row in rows]})
    known = [row for row in rows if row.snapshot is not None and row.id in shown]
    moved = {
        row.id: differences(snapshot_from_json(row.snapshot), shown[row.id], LISTED)
        if row.is_otherwise
        else ()
        for row in known
    }
    differing = [name for name, fields in moved.items() if fields]
    back = [row.id for row in known if not row.is_otherwise]
    unheard_of = [row.id for row in rows if row.is_unheard_of]
    raise_hints(session, {*_never_seen(rows), *differing, *back}, routine=True)
    alike = {name: prints[name] for name, fields in moved.items() if not fields}
    _refresh(session, {**dict.fromkeys(differing), **alike})
    untold = [row for row in known if not row.is_waited_for and not _is_newer(row, as_of)]
    news = _news(session, untold, moved)
    disproved = (
        drift_finding.recently_disproved(session, differing, within=trusted_for) if differing else set()
    )
    seen = [(name, one) for name, one in news if (name, one.field, str(one.value)) not in disproved]
    if expect_all_known:
        seen += [(name, findings.unheard_of(name)) for name in unheard_of]
    drift_finding.record_all(session, seen)
    return PageComparison(unheard_of=len(unheard_of), differing=len(differing))


def _unlike(session: Session, prints: Mapping[str, str]) -> Sequence[Row[Any]]:
    """What is not as we know it. Asked as two texts, which are made and read much sooner than arrays; no id
    has a line end in it.
    """
    asked = {"ids": "\n".join(prints), "fingerprints": "\n".join(prints.values())}
    return session.execute(_COMPARE, {**asked, "missing": FindingKind.NOT_AT_PROVIDER.value}).all()


def _never_seen(rows: Sequence[Row[Any]]) -> set[str]:
    return {row.id for row in rows if row.snapshot is None}


def _is_newer(row: Row[Any], moment: datetime) -> bool:
    return row.looked_at is not None and row.looked_at >= moment


def _refresh(session: Session, prints: Mapping[str, str | None]) -> None:
    """It is listed; where no field differs, only the fingerprint is made otherwise now."""
    if prints:
        session.execute(_REFRESH, {"ids": list(prints), "fingerprints": list(prints.values())})


def _news(
    session: Session, known: Sequence[Row[Any]], moved: Mapping[str, Sequence[Difference]]
) -> Iterator[tuple[str, Finding]]:
    if not any(moved[row.id] for row in known):
        return
    newest = inbox.newest_arrival(session)
    for row in known:
        arrive = newest is not None and newest > row.verified_at
        cause = likely_cause(moved[row.id], deliveries_arrive=arrive)
        yield from ((row.id, findings.differs(one, cause)) for one in moved[row.id])
