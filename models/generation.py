"""Generations: which catalogue and release accounts are evaluated with, while processes of several versions
run.

The newest row is in force. A process whose catalogue and release were replaced evaluates nothing; otherwise,
in a rolling restart, old and new processes would overwrite each other's results. A new catalogue comes into
force when a process first evaluates with it, a replaced one only by `activate`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Identity, Index, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.catalog.model import Catalog
from models.base import Base, Written


class Generation(Base):
    __tablename__ = "generations"
    __table_args__ = (Index(None, "catalog_digest", "release"),)

    number: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    catalog_digest: Mapped[str]
    # The newest schema revision of the release.
    release: Mapped[str]
    began_at: Mapped[Written]


@dataclass(frozen=True, slots=True)
class GenerationState:
    """The generation in force, `newest` (None before the first), compared with that of this process.

    `is_in_force`: they are the same. `was_replaced`: this process's generation was in force earlier.
    """

    newest: int | None
    is_in_force: bool
    was_replaced: bool

    @property
    def may_evaluate(self) -> bool:
        """Whether the process may evaluate accounts: False if its generation was replaced by a newer one."""
        return not self.was_replaced


def state_of(session: Session, catalog: Catalog) -> GenerationState:
    """The generation in force, compared with that of a process that uses this catalogue."""
    newest = session.scalar(select(Generation).order_by(Generation.number.desc()).limit(1))
    if newest is None:
        return GenerationState(None, is_in_force=False, was_replaced=False)
    is_in_force = (newest.catalog_digest, newest.release) == (catalog.digest, catalog.release)
    return GenerationState(
        newest.number, is_in_force, was_replaced=not is_in_force and _was_in_force(session, catalog)
    )


def may_evaluate(session: Session, catalog: Catalog) -> bool:
    """Whether this process may evaluate accounts in this transaction. Puts a new catalogue into force.

    Call it with the account locked, so that a newer generation that has evaluated the account is visible.
    """
    found = state_of(session, catalog)
    if found.may_evaluate and not found.is_in_force:
        _begin(session, catalog)
    return found.may_evaluate


def activate(session: Session, catalog: Catalog) -> bool:
    """Put a replaced catalogue back into force. Returns False if it was not replaced.

    A catalogue that was never in force is left alone: it comes into force when a process first evaluates
    with it, and running processes continue until then.
    """
    was_replaced = state_of(session, catalog).was_replaced
    if was_replaced:
        _begin(session, catalog)
    return was_replaced


def _was_in_force(session: Session, catalog: Catalog) -> bool:
    same = (Generation.catalog_digest == catalog.digest, Generation.release == catalog.release)
    return bool(session.scalar(select(exists().where(*same))))


def _begin(session: Session, catalog: Catalog) -> None:
    session.add(Generation(catalog_digest=catalog.digest, release=catalog.release))
    session.flush()
