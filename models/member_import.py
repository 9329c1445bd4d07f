"""Member imports: the progress of each file, committed with the imported rows, so an interrupted import
resumes.

Rows are imported by account and line; `account_id` and `line` identify the last one imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Row,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import Contended
from models.base import Base, Counter, Json, Moment, Written, affected

_UNDER_WAY = sql("finished_at IS NULL")


class ImportKind(StrEnum):
    MEMBERS = "members"


class Import(Base):
    __tablename__ = "imports"
    __table_args__ = (
        CheckConstraint("kind IN ('members')", name="kind"),
        Index(
            "imports_one_under_way",
            "kind",
            "file_digest",
            unique=True,
            postgresql_where=_UNDER_WAY,
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str]
    file_digest: Mapped[str]
    account_id: Mapped[str | None]
    line: Mapped[int | None] = mapped_column(BigInteger)
    rows_done: Mapped[Counter]
    bytes_done: Mapped[Counter]
    # The number of rows by result: {"added": 10, "rejected": 1}.
    counts: Mapped[Json] = mapped_column(server_default="{}")
    started_at: Mapped[Written]
    finished_at: Mapped[Moment | None]

    @property
    def place(self) -> tuple[str, int] | None:
        """Account and line of the last row imported; None before the first."""
        return None if self.account_id is None or self.line is None else (self.account_id, self.line)


class ImportReject(Base):
    __tablename__ = "import_rejects"

    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id"), primary_key=True)
    line: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    # Our own text with ids only, no personal data from the row.
    reason: Mapped[str]


@dataclass(frozen=True, slots=True)
class Step:
    """The progress made by one batch.

    `place` is the account and line of its last row, `rows` and `size` the rows and bytes it read, `counts`
    the import's rows by result so far, `rejects` the line and reason of each row it rejected.
    """

    place: tuple[str, int]
    rows: int
    size: int
    counts: Mapping[str, int]
    rejects: Sequence[tuple[int, str]]


def begin(session: Session, kind: ImportKind, file_digest: str) -> Import:
    """The unfinished import of this file, or a new one."""
    found = session.scalar(
        select(Import).where(Import.kind == kind, Import.file_digest == file_digest, _UNDER_WAY)
    )
    if found is None:
        found = Import(kind=kind.value, file_digest=file_digest)
        session.add(found)
        session.flush()
        session.refresh(found)
    return found


def advance(session: Session, run: Import, step: Step) -> None:
    """Record the progress of a batch, in the batch's transaction.

    Raises `Contended` if another process has continued the import since `run` was read.
    """
    advanced = (
        update(Import)
        .where(Import.id == run.id, Import.rows_done == run.rows_done, _UNDER_WAY)
        .values(
            account_id=step.place[0],
            line=step.place[1],
            rows_done=Import.rows_done + step.rows,
            bytes_done=Import.bytes_done + step.size,
            counts=step.counts,
        )
    )
    if not affected(session, advanced):
        raise Contended("Another process is running this import. Wait for it to finish.")
    rejected = [{"import_id": run.id, "line": line, "reason": reason} for line, reason in step.rejects]
    if rejected:
        session.execute(insert(ImportReject), rejected)


def current(session: Session, run: Import) -> Import:
    """The import, read again from the database."""
    return session.scalars(
        select(Import).where(Import.id == run.id), execution_options={"populate_existing": True}
    ).one()


def finish(session: Session, run: Import) -> None:
    """Finish the import of the whole file. Its rejects, reported by then, are deleted."""
    session.execute(delete(ImportReject).where(ImportReject.import_id == run.id))
    session.execute(update(Import).where(Import.id == run.id).values(finished_at=func.now()))


def rejects(session: Session, run: Import) -> Iterable[Row[int, str]]:
    """The line and reason of each row rejected so far."""
    return session.execute(
        select(ImportReject.line, ImportReject.reason).where(ImportReject.import_id == run.id),
        execution_options={"yield_per": 1000},
    )
