"""Drift findings: what we and the provider do not agree on, or what we could not make sense of.

One open finding per subject, kind and field; seen again it only grows older. It closes itself when
the two sides agree.

open  -> repaired   the next look took the provider's side over
      -> agreed     the next look found nothing to repair
held  -> agreed     what stood in the way of a repair is gone
      -> dismissed  a person, or the app, has dealt with it, and said how; it is not opened again while it
                    stays as it is
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
    delete,
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
from models.base import Base, Moment, Written, affected
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
    # Why a person closed it.
    closed_because: Mapped[str | None]


# As text, for statements of both kinds: SQLAlchemy's, and those sent through the driver's cursor.
_STANDS = sql("closed_at IS NULL")
_WAS_DISMISSED = sql("state = 'dismissed'")
# The provider gives a delivery up after 27 h 35 min (Dodo documentation, webhooks); until then a webhook
# that seems lost may be late.
_MAY_BE_LATE = sql("closed_at > now() - interval '28 hours'")
MAY_BE_SETTLED = f"({_STANDS} OR {_WAS_DISMISSED} OR {_MAY_BE_LATE})"
"""The findings that `update_findings` and `close_differences` may change."""
# Differences, which a look repairs; the other kinds are about what a look could not make sense of.
_DIFFERENCES = tuple(kind.value for kind in DIFFERENCES)

# All of them in one statement. `xmax = 0` is PostgreSQL's own mark of a row that this statement inserted.
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
    """Open these findings, with a notice of each new one, or note that they are still there."""
    record_all(session, [(subject, finding) for finding in findings])


def record_all(session: Session, seen: Iterable[tuple[str, Finding]]) -> None:
    """The same for findings about many subjects, each beside its own."""
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
    news = [by_key[row.subject, row.kind, row.field] for row in written if row.is_new]
    notice.add(session, None, [_notice(subject, one) for subject, one in news])


def update_findings(
    session: Session, subject: str, still_there: Sequence[Finding], *, kinds: Collection[FindingKind] = SYNCED
) -> None:
    """Of these kinds, record what is still there and close what no longer is. What was dismissed and is gone
    would be opened again if it came back. What the findings cannot judge stays.
    """
    kinds = answered_kinds(kinds, still_there)
    kept = [(finding.kind.value, finding.field) for finding in still_there]
    gone = (
        update(DriftFinding)
        .where(DriftFinding.subject == subject, DriftFinding.kind.in_([kind.value for kind in kinds]))
        .where(or_(_STANDS, _WAS_DISMISSED))
        .where(tuple_(DriftFinding.kind, DriftFinding.field).not_in(kept))
    )
    closed_at = func.coalesce(DriftFinding.closed_at, func.now())
    affected(session, gone.values(state=FindingState.AGREED, closed_at=closed_at))
    record(session, subject, still_there)


def dismiss(session: Session, finding_id: int, reason: str) -> DriftFinding:
    """Close a held finding for this reason; the finding as it is then. Safe to repeat.

    Raises `FindingNotFound`, and `FindingNotHeld` for one that closes by itself, or is closed.
    """
    found = session.get(DriftFinding, finding_id, with_for_update=True)
    if found is None:
        raise FindingNotFound(f"There is no drift finding {finding_id}.")
    if found.state == FindingState.DISMISSED:
        return found
    if found.state != FindingState.HELD:
        raise FindingNotHeld(
            f"Drift finding {finding_id} is {found.state}. Only a held finding can be closed by hand: the "
            "next sync closes an open one.",
            details={"finding_id": finding_id, "state": found.state},
        )
    _dismiss(found, reason, session)
    return found


def dismiss_kinds(session: Session, subject: str, kinds: Collection[FindingKind], reason: str) -> None:
    """Close what stands of these kinds about the subject: the app has dealt with it."""
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
    look: Lease,
    seen_before: datetime | None,
    has_known: bool = True,
) -> None:
    """A look has taken the provider's side over, which `moved` what we knew: what differed before it no
    longer does. What a list showed after the look had begun stands until the next one.

    What nobody told, and no list had shown, is written down as a difference found and repaired at once.
    `seen_before` is when we had looked last. Without `has_known` there are no findings about the subject yet.
    """
    known = _known_differences(session, subject) if has_known else ()
    standing = [one for one in known if one.closed_at is None and one.last_seen <= look.taken_at]
    fields = {one.field for one in moved}
    for one in standing:
        is_repaired = one.kind == FindingKind.UNHEARD_OF or one.field in fields
        one.state = FindingState.REPAIRED if is_repaired else FindingState.AGREED
        one.closed_at = func.now()
    if look.told_of is not None:
        for one in known:
            if look.told_of <= one.first_seen:
                one.cause = LikelyCause.LATE_WEBHOOK
    if not look.events and seen_before is not None:
        open_fields = {one.field for one in known if one.closed_at is None or one in standing}
        silent = [one for one in moved if one.field not in open_fields]
        _write_down_as_repaired(session, subject, silent, seen_before)
    session.flush()


def _known_differences(session: Session, subject: str) -> Sequence[DriftFinding]:
    """Those that stand, and those that a late webhook may still explain; locked."""
    return session.scalars(
        select(DriftFinding)
        .where(DriftFinding.subject == subject, DriftFinding.kind.in_(_DIFFERENCES))
        .where(or_(_STANDS, _MAY_BE_LATE))
        .with_for_update()
    ).all()


def _write_down_as_repaired(
    session: Session, subject: str, moved: Sequence[Difference], seen_before: datetime
) -> None:
    """What no list had shown before."""
    if not moved:
        return
    newest = inbox.newest_arrival(session)
    cause = likely_cause(moved, deliveries_arrive=newest is not None and newest > seen_before)
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
    """No look is to be had: what differs stays as it is, for this reason."""
    open_ones = update(DriftFinding).where(
        DriftFinding.subject == subject, _STANDS, DriftFinding.kind.in_(_DIFFERENCES)
    )
    affected(session, open_ones.values(state=FindingState.HELD, held_because=reason))


def recently_disproved(
    session: Session, subjects: Collection[str], *, within: timedelta
) -> set[tuple[str, str, str | None]]:
    """Subject, field and the provider's side of differences which a look did not confirm."""
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
    """Findings in these states, oldest first, from the one behind the id `after`."""
    wanted = select(DriftFinding).where(DriftFinding.state.in_(states)).order_by(DriftFinding.id)
    if after is not None:
        wanted = wanted.where(DriftFinding.id > after)
    return session.scalars(wanted.limit(limit)).all()


def count_by_cause(session: Session, *, states: Collection[str]) -> Mapping[tuple[str, str], int]:
    """How many findings are in these states, by state and likely cause."""
    counted = (
        select(DriftFinding.state, DriftFinding.cause, func.count())
        .where(DriftFinding.state.in_(states))
        .group_by(DriftFinding.state, DriftFinding.cause)
        .order_by(DriftFinding.state, DriftFinding.cause)
    )
    return {(state, cause): count for state, cause, count in session.execute(counted)}


def changed_since(session: Session, moment: datetime, *, limit: int) -> Sequence[DriftFinding]:
    """Findings that are new since then or were closed since then, by kind and age."""
    wanted = select(DriftFinding).where(
        or_(DriftFinding.first_seen >= moment, DriftFinding.closed_at >= moment)
    )
    return session.scalars(wanted.order_by(DriftFinding.kind, DriftFinding.id).limit(limit)).all()


def about(session: Session, subjects: Collection[str], *, since: datetime) -> Sequence[DriftFinding]:
    """Findings about these subjects that stand or were closed since then, oldest first."""
    wanted = select(DriftFinding).where(
        DriftFinding.subject.in_(subjects), or_(_STANDS, DriftFinding.closed_at >= since)
    )
    return session.scalars(wanted.order_by(DriftFinding.id)).all()


def delete_old(session: Session, age: timedelta) -> int:
    """Drop findings that were closed so long ago."""
    return affected(session, delete(DriftFinding).where(DriftFinding.closed_at < func.now() - age))


def _notice(subject: str, finding: Finding) -> Notice:
    facts = {"subject": subject, "kind": finding.kind.value, "field": finding.field}
    return Notice(
        NoticeType.DRIFT_FOUND,
        {**facts, "likely_cause": finding.likely_cause.value, "message": finding.message},
    )
