"""Ticks: each scheduled job runs once per time slot, however many schedulers ring for it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import BigInteger, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Written, affected


class Tick(Base):
    __tablename__ = "ticks"

    name: Mapped[str] = mapped_column(primary_key=True)
    # Whole periods since 1970, by the database's clock.
    slot: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    taken_at: Mapped[Written]


def take(session: Session, name: str, period: timedelta) -> bool:
    """True for the first caller within the present period, False for every other."""
    seconds = period.total_seconds()
    slot = func.floor(func.extract("epoch", func.now()) / seconds)
    wanted = insert(Tick).from_select(["name", "slot"], select(literal(name), slot))
    return bool(affected(session, wanted.on_conflict_do_nothing()))


def give_back(session: Session, name: str) -> None:
    """The newest tick of the job was taken in vain: its slot may be taken again."""
    newest = select(func.max(Tick.slot)).where(Tick.name == name).scalar_subquery()
    session.execute(delete(Tick).where(Tick.name == name, Tick.slot == newest))


def forget_old(session: Session, age: timedelta = timedelta(days=7)) -> int:
    """Drop ticks nobody can ask for again."""
    return affected(session, delete(Tick).where(Tick.taken_at < func.now() - age))
