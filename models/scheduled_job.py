"""Runs of scheduled jobs. Each job runs once per period, however many schedulers trigger it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Written, affected

# Heartbeats: a process that claims one of these every minute is alive.
BEAT: Final = "beat"
SWEEPER: Final = "sweeper"
EVERY_HEARTBEAT: Final = timedelta(minutes=1)

HOUSEKEEPING: Final = "housekeeping"
EVERY_HOUSEKEEPING: Final = timedelta(hours=1)


class JobRun(Base):
    __tablename__ = "ticks"

    name: Mapped[str] = mapped_column(primary_key=True)
    # The number of whole periods since 1970, by the database clock.
    slot: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    taken_at: Mapped[Written]


def start_if_due(session: Session, name: str, period: timedelta) -> bool:
    """Claim the job's run for the current period. True for the first caller, False for every other."""
    wanted = insert(JobRun).from_select(["name", "slot"], select(literal(name), _slot(period)))
    return bool(affected(session, wanted.on_conflict_do_nothing()))


def is_unclaimed(session: Session, name: str, period: timedelta) -> bool:
    """Whether the job's run for the current period is still unclaimed."""
    claimed = select(JobRun.slot).where(JobRun.name == name, JobRun.slot == _slot(period))
    return session.scalar(claimed) is None


def last_claimed(session: Session, name: str) -> datetime | None:
    """When the job's last run was claimed; None if none is stored."""
    return session.scalar(select(func.max(JobRun.taken_at)).where(JobRun.name == name))


def _slot(period: timedelta) -> ColumnElement[int]:
    return func.floor(func.extract("epoch", func.now()) / period.total_seconds())


def delete_old(session: Session, age: timedelta = timedelta(days=7)) -> int:
    """Delete runs claimed more than `age` ago. Returns how many."""
    return affected(session, delete(JobRun).where(JobRun.taken_at < func.now() - age))
