"""Drift findings: what we and the provider do not agree on, or what we could not make sense of.

One open finding per subject, kind and field; seen again it only grows older. It closes itself when
the two sides agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import BigInteger, Identity, Index, func, select, tuple_, update
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models import notice
from models.base import Base, Moment, Written
from seats.findings import Finding
from seats.notices import Notice, NoticeType


class DriftFinding(Base):
    __tablename__ = "drift_findings"
    __table_args__ = (
        Index(
            "drift_findings_one_open",
            "subject",
            "kind",
            "field",
            unique=True,
            postgresql_where=sql("closed_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # The subscription it is about, or `business:ID` for deliveries that are not ours.
    subject: Mapped[str]
    kind: Mapped[str]
    field: Mapped[str]
    ours: Mapped[str | None]
    theirs: Mapped[str | None]
    message: Mapped[str]
    first_seen: Mapped[Written]
    last_seen: Mapped[Written]
    closed_at: Mapped[Moment | None]


def record(session: Session, subject: str, findings: Iterable[Finding]) -> None:
    """Open these findings, with a notice of each new one, or note that they are still there."""
    news = [finding for finding in findings if _is_new(session, subject, finding)]
    notice.put(session, None, [_told(subject, finding) for finding in news])


def _is_new(session: Session, subject: str, finding: Finding) -> bool:
    """Write it down; True unless it was open."""
    seen = session.execute(
        insert(DriftFinding)
        .values(
            subject=subject,
            kind=finding.kind,
            field=finding.field,
            theirs=_text(finding.value),
            message=finding.message,
        )
        .on_conflict_do_update(
            index_elements=["subject", "kind", "field"],
            index_where=sql("closed_at IS NULL"),
            set_={"theirs": _text(finding.value), "message": finding.message, "last_seen": func.now()},
        )
        .returning(sql("xmax = 0"))  # PostgreSQL's own mark of a row that this statement inserted
    )
    return bool(seen.scalar_one())


def _told(subject: str, finding: Finding) -> Notice:
    facts = {"subject": subject, "kind": finding.kind.value, "field": finding.field}
    return Notice(NoticeType.DRIFT_FOUND, {**facts, "message": finding.message})


def settle(session: Session, subject: str, still_there: Sequence[Finding]) -> None:
    """Record what is still there and close what no longer is."""
    done = update(DriftFinding).where(DriftFinding.subject == subject, DriftFinding.closed_at.is_(None))
    if still_there:
        kept = [(finding.kind, finding.field) for finding in still_there]
        done = done.where(tuple_(DriftFinding.kind, DriftFinding.field).not_in(kept))
    session.execute(done.values(closed_at=func.now()))
    record(session, subject, still_there)


def open_findings(session: Session, *, after: int | None, limit: int) -> Sequence[DriftFinding]:
    """Findings that stand, oldest first."""
    wanted = select(DriftFinding).where(DriftFinding.closed_at.is_(None)).order_by(DriftFinding.id)
    if after is not None:
        wanted = wanted.where(DriftFinding.id > after)
    return session.scalars(wanted.limit(limit)).all()


def open_about(session: Session, subjects: Sequence[str]) -> Sequence[DriftFinding]:
    """Findings that stand about these subjects, oldest first."""
    wanted = select(DriftFinding).where(DriftFinding.closed_at.is_(None), DriftFinding.subject.in_(subjects))
    return session.scalars(wanted.order_by(DriftFinding.id)).all()


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
