"""Row counts for `/metrics`: accounts by status, and all deliveries that were ever accepted.

Counting a table takes longer the more rows it has. So accounts are counted now and then, and deliveries are
added up: the rows behind the last one that was counted are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Json, Written

_ACCOUNTS: Final = "accounts"
_INBOX: Final = "inbox"


class RowCount(Base):
    __tablename__ = "row_counts"

    table_name: Mapped[str] = mapped_column(primary_key=True)
    # Accounts by status: {"ok": 12, "grace": 1}. Deliveries up to an inbox id, those deleted since included:
    # {"accepted": 1000, "ignored": 20, "upto": 1017}.
    numbers: Mapped[Json]
    counted_at: Mapped[Written]


@dataclass(frozen=True, slots=True)
class Deliveries:
    """All deliveries that were ever accepted, and those among them that were ignored on arrival."""

    accepted: int = 0
    ignored: int = 0


_BY_STATUS = sql("SELECT status, count(*) FROM accounts WHERE deleted_at IS NULL GROUP BY status")


def count_accounts(session: Session) -> None:
    """Count the accounts by status and store the result. Deleted accounts do not count."""
    _store(session, _ACCOUNTS, {status: number for status, number in session.execute(_BY_STATUS)})  # noqa: C416


def accounts_by_status(session: Session) -> Mapping[str, int]:
    """The last count of accounts; empty before the first."""
    return _last(session, _ACCOUNTS)


# Transactions may commit in another order than their ids were given out. A minute later all have ended.
_NEWEST_SETTLED = sql(
    "SELECT id FROM inbox WHERE received_at < now() - interval '1 minute' ORDER BY id DESC LIMIT 1"
)
_BETWEEN = sql(
    """
    SELECT (SELECT count(*) FROM inbox WHERE id > :after AND id <= :upto) AS accepted,
           (SELECT count(*) FROM inbox WHERE id > :after AND id <= :upto AND state = 'ignored') AS ignored
    """
)
_NO_END: Final = 2**63 - 1


def advance_deliveries(session: Session) -> None:
    """Add the deliveries since the last call to the stored count. Call it before old events are deleted."""
    counted = _last(session, _INBOX)
    upto = session.scalar(_NEWEST_SETTLED)
    if upto is not None and upto > counted.get("upto", 0):
        now = _deliveries(session, counted, upto=upto)
        _store(session, _INBOX, {"accepted": now.accepted, "ignored": now.ignored, "upto": upto})


def deliveries(session: Session) -> Deliveries:
    """All deliveries until now: the stored count, and those behind it."""
    return _deliveries(session, _last(session, _INBOX), upto=_NO_END)


def _deliveries(session: Session, counted: Mapping[str, int], *, upto: int) -> Deliveries:
    further = session.execute(_BETWEEN, {"after": counted.get("upto", 0), "upto": upto}).one()
    return Deliveries(
        accepted=counted.get("accepted", 0) + further.accepted,
        ignored=counted.get("ignored", 0) + further.ignored,
    )


def _last(session: Session, table_name: str) -> Mapping[str, int]:
    return session.scalar(select(RowCount.numbers).where(RowCount.table_name == table_name)) or {}


def _store(session: Session, table_name: str, numbers: Mapping[str, Any]) -> None:
    new = insert(RowCount).values(table_name=table_name, numbers=numbers)
    session.execute(
        new.on_conflict_do_update(
            index_elements=[RowCount.table_name],
            set_={"numbers": new.excluded.numbers, "counted_at": new.excluded.counted_at},
        )
    )
