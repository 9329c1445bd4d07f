"""Drift findings: differences between our data and the provider's, and provider data we cannot interpret.

There is at most one open finding per subject, kind and field; a repeat updates `last_seen`.

open  -> repaired   a sync adopted the provider's value
      -> agreed     a sync found no difference any more
held  -> agreed     the obstacle to a repair is gone
      -> dismissed  closed by a person or the app, with a reason; not opened again while the provider's value
                    stays the same
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import orjson
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Identity,
    Index,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.drift import Difference, LikelyCause, likely_cause
from domain.errors import FindingNotFound, FindingNotHeld
from domain.findings import DIFFERENCES, SYNCED, Finding, FindingKind, answered_kinds, differs
from domain.notices import Notice, NoticeType
from models import inbox, notice
from models.base import Base, Moment, Written, affected, delete_slice
from models.sync_queue import Lease


class FindingState(StrEnum):
    OPEN = "open"
    HELD = "held"
    REPAIRED = "repaired"
    AGREED = "agreed"
    DISMISSED = "dismissed"


class DriftFinding(Base):
    __tablename__ = "drift_findings"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'held', 'repaired', 'agreed', 'dismissed')", name="state"),
        CheckConstraint("(state IN ('open', 'held')) = (closed_at IS NULL)", name="closed"),
        CheckConstraint("state <> 'dismissed' OR closed_because IS NOT NULL", name="dismissed_for_a_reason"),
        CheckConstraint("state <> 'held' OR held_because IS NOT NULL", name="held_for_a_reason"),
        Index(
            "drift_findings_one_open",
            "subject",
            "kind",
            "field",
            unique=True,
            postgresql_where=sql("closed_at IS NULL"),
        ),
        Index(None, "subject", "first_seen"),
        Index(None, "first_seen"),
        Index(None, "closed_at"),
        Index(None, "state", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # The subscription it is about, or `business:ID` for deliveries that are not ours.
    subject: Mapped[str]
    kind: Mapped[str]
    field: Mapped[str]
    ours: Mapped[str | None]
    theirs: Mapped[str | None]
    message: Mapped[str]
    cause: Mapped[str] = mapped_column(server_default=LikelyCause.UNKNOWN.value)
    state: Mapped[str] = mapped_column(server_default=FindingState.OPEN.value)
    held_because: Mapped[str | None]
    first_seen: Mapped[Written]
    last_seen: Mapped[Written]
    closed_at: Mapped[Moment | None]
    # The reason given for dismissing it.
    closed_because: Mapped[str | None]


# As text, for statements of both kinds: SQLAlchemy's, and those sent through the driver's cursor.
_STANDS = sql("closed_at IS NULL")
_WAS_DISMISSED = sql("state = 'dismissed'")
# The provider retries a delivery for 27 h 35 min (Dodo documentation, webhooks). Until then a webhook that
# seems lost may only be late.
_MAY_BE_LATE = sql("closed_at > now() - interval '28 hours'")
MAY_BE_SETTLED = f"({_STANDS} OR {_WAS_DISMISSED} OR {_MAY_BE_LATE})"
"""The findings that `update_findings` and `close_differences` may change."""
# The kinds that a sync repairs. The others are about data that a sync could not interpret.
_DIFFERENCES = tuple(kind.value for kind in DIFFERENCES)

# `xmax = 0` is true of the rows that this statement inserted and false of those it updated.
_RECORD = sql(
    """
    INSERT INTO drift_findings (subject, kind, field, ours, theirs, message, cause, state, held_because)
    SELECT subject, kind, field, ours, theirs, message, cause,
           CASE WHEN held_because IS NULL THEN 'open' ELSE 'held' END, held_because
    FROM jsonb_to_recordset(cast(:findings AS jsonb))
         AS seen (subject text, kind text, field text, ours text, theirs text, message text, cause text,
                  held_because text)
    WHERE held_because IS NULL OR NOT EXISTS (
                      SELECT FROM drift_findings AS dismissed
                      WHERE dismissed.subject = seen.subject AND dismissed.kind = seen.kind
                        AND dismissed.field = seen.field AND dismissed.state = 'dismissed'
                        AND dismissed.theirs IS NOT DISTINCT FROM seen.theirs)
    ORDER BY subject, kind, field
    ON CONFLICT (subject, kind, field) WHERE closed_at IS NULL DO UPDATE SET
        ours = excluded.ours, theirs = excluded.theirs, message = excluded.message, cause = excluded.cause,
        state = excluded.state, held_because = excluded.held_because, last_seen = now()
    RETURNING subject, kind, field, xmax = 0 AS is_new
    """
)


def record(session: Session, subject: str, findings: Iterable[Finding]) -> None:
    """Open these findings about the subject, with a notice for each new one. A finding that is open already
    is updated.
    """
    record_all(session, [(subject, finding) for finding in findings])


def record_all(session: Session, seen: Iterable[tuple[str, Finding]]) -> None:
    """Like `record`, for pairs of a subject and a finding about it."""
    by_key = {(subject, one.kind.value, one.field): (subject, one) for subject, one in seen}
    if not by_key:
        return
    rows = [
        {
            "subject": subject,
            "kind": one.kind,
            "field": one.field,
            "ours": one.ours,
            "theirs": None if one.value is None else str(one.value),
            "message": one.message,
            "cause": one.likely_cause,
            "held_because": one.held_because,
        }
        for subject, one in by_key.values()
    ]
    written = session.execute(_RECORD, {"findings": orjson.dumps(rows).decode()})
    opened = [by_key[row.subject, row.kind, row.field] for row in written if row.is_new]
    notice.add(session, None, [_notice(subject, one) for subject, one in opened])


def update_findings(
    session: Session, subject: str, still_there: Sequence[Finding], *, kinds: Collection[FindingKind] = SYNCED
) -> None:
    """Record the findings that still exist, and close all others of these kinds about the subject.

    Kinds that the findings leave undecided (see `answered_kinds`) are left as they are.
    """
    _close_others(session, subject, still_there, kinds=answered_kinds(kinds, still_there))
    record(session, subject, still_there)


def _close_others(
    session: Session, subject: str, still_there: Sequence[Finding], *, kinds: Collection[FindingKind]
) -> None:
    """Mark findings that no longer exist as agreed. This includes dismissed ones: if such a finding comes
    back, it is a new finding and is opened again.
    """
    existing = [(finding.kind.value, finding.field) for finding in still_there]
    others = (
        update(DriftFinding)
        .where(DriftFinding.subject == subject, DriftFinding.kind.in_([kind.value for kind in kinds]))
        .where(or_(_STANDS, DriftFinding.state == FindingState.DISMISSED))
        .where(tuple_(DriftFinding.kind, DriftFinding.field).not_in(existing))
    )
    closed_at = func.coalesce(DriftFinding.closed_at, func.now())
    affected(session, others.values(state=FindingState.AGREED, closed_at=closed_at))


def dismiss(session: Session, finding_id: int, reason: str) -> DriftFinding:
    """Close a held finding for this reason and return it. Dismissing a dismissed finding changes nothing.

    Raises `FindingNotFound`, or `FindingNotHeld` if the finding is in another state.
    """
    found = session.get(DriftFinding, finding_id, with_for_update=True)
    if found is None:
        raise FindingNotFound(f"There is no drift finding {finding_id}.")
    if found.state == FindingState.DISMISSED:
        return found
    if found.state != FindingState.HELD:
        raise FindingNotHeld(
            f"Drift finding {finding_id} is {found.state}. Only held findings can be dismissed; syncs close "
            "open ones.",
            details={"finding_id": finding_id, "state": found.state},
        )
    _dismiss(found, reason, session)
    return found


def dismiss_kinds(session: Session, subject: str, kinds: Collection[FindingKind], reason: str) -> None:
    """Dismiss all open findings of these kinds about the subject, for this reason."""
    wanted = select(DriftFinding).where(
        DriftFinding.subject == subject, _STANDS, DriftFinding.kind.in_([kind.value for kind in kinds])
    )
    for found in session.scalars(wanted.with_for_update()):
        _dismiss(found, reason, session)


def _dismiss(found: DriftFinding, reason: str, session: Session) -> None:
    found.state, found.closed_because = FindingState.DISMISSED, reason
    found.closed_at = func.now()
    session.flush()


def close_differences(
    session: Session,
    subject: str,
    moved: Sequence[Difference],
    *,
    lease: Lease,
    last_synced_at: datetime | None,
    has_known: bool = True,
) -> None:
    """Close drift findings after a sync adopted the provider's values; `moved` is what it changed.

    Findings seen after the sync started stay open. Changes that no webhook and no list page announced are
    recorded as found and repaired.

    `lease` is that of the sync, `last_synced_at` the time of the previous sync (None before the first).
    `has_known=False` saves a query if the subject has no findings.
    """
    known = _lock_known_differences(session, subject) if has_known else ()
    open_fields = {finding.field for finding in known if finding.closed_at is None}
    _close_seen_before_sync(known, lease, changed_fields={one.field for one in moved})
    _attribute_to_late_webhooks(known, lease)
    if not lease.events and last_synced_at is not None:
        unannounced = [one for one in moved if one.field not in open_fields]
        _record_as_repaired(session, subject, unannounced, last_synced_at)
    session.flush()


def _lock_known_differences(session: Session, subject: str) -> Sequence[DriftFinding]:
    """The open differences, and the closed ones that a late webhook may still explain."""
    return session.scalars(
        select(DriftFinding)
        .where(DriftFinding.subject == subject, DriftFinding.kind.in_(_DIFFERENCES))
        .where(or_(_STANDS, _MAY_BE_LATE))
        .with_for_update()
    ).all()


def _close_seen_before_sync(
    known: Iterable[DriftFinding], lease: Lease, *, changed_fields: Collection[str]
) -> None:
    """Close the open findings that were last seen before the sync started."""
    for finding in known:
        if finding.closed_at is None and finding.last_seen <= lease.taken_at:
            is_repaired = finding.kind == FindingKind.UNHEARD_OF or finding.field in changed_fields
            finding.state = FindingState.REPAIRED if is_repaired else FindingState.AGREED
            finding.closed_at = func.now()


def _attribute_to_late_webhooks(known: Iterable[DriftFinding], lease: Lease) -> None:
    """An event that occurred before a finding was made and arrives only now was a late webhook."""
    if lease.oldest_event_at is None:
        return
    for finding in known:
        if lease.oldest_event_at <= finding.first_seen:
            finding.cause = LikelyCause.LATE_WEBHOOK


def _record_as_repaired(
    session: Session, subject: str, moved: Sequence[Difference], last_synced_at: datetime
) -> None:
    if not moved:
        return
    newest = inbox.newest_arrival(session)
    cause = likely_cause(moved, deliveries_arrive=newest is not None and newest > last_synced_at)
    found = [differs(one, cause) for one in moved]
    for one in found:
        session.add(
            DriftFinding(
                subject=subject,
                kind=one.kind,
                field=one.field,
                ours=one.ours,
                theirs=one.value,
                message=one.message,
                cause=cause,
                state=FindingState.REPAIRED,
                closed_at=func.now(),
            )
        )
    notice.add(session, None, [_notice(subject, one) for one in found])


def hold_differences(session: Session, subject: str, reason: str) -> None:
    """Mark the subject's open differences as held, with this reason, because it cannot be synced."""
    open_ones = update(DriftFinding).where(
        DriftFinding.subject == subject, _STANDS, DriftFinding.kind.in_(_DIFFERENCES)
    )
    affected(session, open_ones.values(state=FindingState.HELD, held_because=reason))


def recently_disproved(
    session: Session, subjects: Collection[str], *, within: timedelta
) -> set[tuple[str, str, str | None]]:
    """Differences that a sync did not confirm within that time: subject, field and the provider's value."""
    found = session.execute(
        select(DriftFinding.subject, DriftFinding.field, DriftFinding.theirs).where(
            DriftFinding.subject.in_(subjects),
            DriftFinding.kind == FindingKind.DIFFERS,
            DriftFinding.state == FindingState.AGREED,
            DriftFinding.closed_at > func.now() - within,
        )
    )
    return {(row.subject, row.field, row.theirs) for row in found}


def page(
    session: Session, *, states: Collection[str], after: int | None, limit: int
) -> Sequence[DriftFinding]:
    """Findings in these states with ids greater than `after`, oldest first."""
    wanted = select(DriftFinding).where(DriftFinding.state.in_(states)).order_by(DriftFinding.id)
    if after is not None:
        wanted = wanted.where(DriftFinding.id > after)
    return session.scalars(wanted.limit(limit)).all()


def count_by_cause(session: Session, *, states: Collection[str]) -> Mapping[tuple[str, str], int]:
    """The number of findings in these states, by state and likely cause."""
    counted = (
        select(DriftFinding.state, DriftFinding.cause, func.count())
        .where(DriftFinding.state.in_(states))
        .group_by(DriftFinding.state, DriftFinding.cause)
        .order_by(DriftFinding.state, DriftFinding.cause)
    )
    return {(state, cause): count for state, cause, count in session.execute(counted)}


def changed_since(session: Session, moment: datetime, *, limit: int) -> Sequence[DriftFinding]:
    """Findings first seen or closed at `moment` or later, by kind, oldest first."""
    wanted = select(DriftFinding).where(
        or_(DriftFinding.first_seen >= moment, DriftFinding.closed_at >= moment)
    )
    return session.scalars(wanted.order_by(DriftFinding.kind, DriftFinding.id).limit(limit)).all()


def about(session: Session, subjects: Collection[str], *, since: datetime) -> Sequence[DriftFinding]:
    """Findings about these subjects that are open or were closed at `since` or later, oldest first."""
    wanted = select(DriftFinding).where(
        DriftFinding.subject.in_(subjects), or_(_STANDS, DriftFinding.closed_at >= since)
    )
    return session.scalars(wanted.order_by(DriftFinding.id)).all()


def delete_old(session: Session, age: timedelta, *, limit: int) -> int:
    """Delete at most `limit` findings that were closed more than `age` ago. Returns their number."""
    is_old = DriftFinding.closed_at < func.now() - age
    return delete_slice(session, is_old, oldest_by=DriftFinding.closed_at, limit=limit)


def _notice(subject: str, finding: Finding) -> Notice:
    facts = {"subject": subject, "kind": finding.kind.value, "field": finding.field}
    return Notice(
        NoticeType.DRIFT_FOUND,
        {**facts, "likely_cause": finding.likely_cause.value, "message": finding.message},
    )
