"""Accounts: the app's teams, each with one balance of seats and one lock.

`seats` is the balance per seat type, `{"full": {"included": 5, "addon": 10, "contract": 0, "active": 9,
"held": 1}}`; `included` and `contract` may be the word "unlimited". It lies in the account's own row so
that taking the lock and reading the newest balance are one and the same statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, func, or_, select, update
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.catalog.model import Rules
from domain.errors import AccountNotFound
from domain.seat_rules import SeatRules
from models.account_rules import read_seat_rules
from models.base import Base, Counter, Json, Moment, Written, affected


class AccountStatus(StrEnum):
    OK = "ok"
    OVER_LIMIT = "over_limit"
    GRACE = "grace"
    BLOCKED = "blocked"
    SUSPENDED = "suspended"
    ENDED = "ended"


class Account(Base):
    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(
            "status IN ('ok', 'over_limit', 'grace', 'blocked', 'suspended', 'ended')", name="status"
        ),
        CheckConstraint(
            "NOT jsonb_path_exists(seats, '$.*.* ? (@.type() == \"number\" && @ < 0)')",
            name="no_negative_count",
        ),
        Index(None, "evaluate_at", postgresql_where=sql("evaluate_at IS NOT NULL")),
        Index(None, "catalog_digest"),
        Index(None, "status", "id"),
        Index(None, "opened_by_metadata_at", postgresql_where=sql("opened_by_metadata_at IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Written]
    version: Mapped[Counter]
    status: Mapped[str]
    # The rules in force, worked out from the catalogue and the app's own decisions (`override`): the policy,
    # the time to come back under the limit, whether people are suspended after it, and how long an invitation
    # holds a seat. `seat_policies` and `seat_terms` hold what differs for single seat types;
    # `models.account_rules` reads and writes them.
    policy: Mapped[str]
    seat_policies: Mapped[Json] = mapped_column(server_default="{}")
    seat_terms: Mapped[Json] = mapped_column(server_default="{}")
    grace: Mapped[timedelta] = mapped_column(server_default="14 days")
    suspend_after_grace: Mapped[bool] = mapped_column(server_default=sql("false"))
    hold: Mapped[timedelta]
    override: Mapped[Json | None]
    seats: Mapped[Json]
    # Whether figures stand that only a webhook's body vouches for.
    unverified: Mapped[bool] = mapped_column(server_default=sql("false"))
    deadline: Mapped[Moment | None]
    # The balance as the app was last told of it; what differs from it is news.
    notified: Mapped[Json | None]
    # When the passing of time alone will change the balance (a deadline, a contract's first or last
    # day, an invitation that lapses), and the catalogue by which it was worked out.
    evaluate_at: Mapped[Moment | None]
    catalog_digest: Mapped[str]
    # When plain subscription metadata brought it into being, if it did; these are limited per hour.
    opened_by_metadata_at: Mapped[Moment | None]
    # A deleted account keeps its row for its audit; otherwise it is as if there were none.
    deleted_at: Mapped[Moment | None]

    def rules_of(self, seat_type: str) -> SeatRules:
        """The rules that decide about claims on this type."""
        general = SeatRules(self.policy, self.grace, self.suspend_after_grace, self.hold)
        return read_seat_rules(general, self.seat_policies, self.seat_terms).get(seat_type, general)


_IS_THERE = Account.deleted_at.is_(None)


@dataclass(frozen=True, slots=True)
class AccountPage:
    accounts: Sequence[Account]
    next_cursor: str | None


def get(session: Session, account_id: str) -> Account:
    """The account as last committed, without a lock. Raises `AccountNotFound`."""
    found = session.get(Account, account_id)
    if found is None or found.deleted_at is not None:
        raise AccountNotFound(account_id)
    return found


def check_known(session: Session, account_id: str) -> None:
    """Raise `AccountNotFound` unless there is such an account, or was before it was deleted."""
    if session.get(Account, account_id) is None:
        raise AccountNotFound(account_id)


def exists(session: Session, account_id: str) -> bool:
    """Whether there is such an account."""
    return session.scalar(select(Account.id).where(Account.id == account_id, _IS_THERE)) is not None


def insert_if_absent(session: Session, account_id: str, rules: Rules, *, by_metadata: bool = False) -> bool:
    """An empty account that still has to be evaluated; False if it was there. One that was deleted is there
    again. `by_metadata`: nothing but plain subscription metadata asks for it.
    """
    opened_at = func.now() if by_metadata else None
    new = insert(Account).values(
        id=account_id,
        status=AccountStatus.OK,
        policy=rules.policy,
        hold=rules.hold,
        seats={},
        catalog_digest="",
        opened_by_metadata_at=opened_at,
    )
    if affected(session, new.on_conflict_do_nothing()):
        return True
    # Apart from the insert, or a row that stays as it is would be locked, out of the order of ids.
    deleted = update(Account).where(Account.id == account_id, Account.deleted_at.is_not(None))
    return bool(affected(session, deleted.values(deleted_at=None, opened_by_metadata_at=opened_at)))


def count_opened_by_metadata(session: Session, *, within: timedelta) -> int:
    """How many accounts plain metadata has brought into being in that time."""
    opened = select(func.count()).where(Account.opened_by_metadata_at > func.now() - within)
    return session.scalar(opened) or 0


def mark_deleted(session: Session, account_id: str) -> None:
    """There is no such account any more."""
    affected(session, update(Account).where(Account.id == account_id).values(deleted_at=func.now()))


def page(session: Session, *, status: str | None, after: str | None, limit: int) -> AccountPage:
    """Accounts by id, from the one behind the cursor `after`."""
    wanted = select(Account).where(_IS_THERE).order_by(Account.id).limit(limit + 1)
    if status is not None:
        wanted = wanted.where(Account.status == status)
    if after is not None:
        wanted = wanted.where(Account.id > after)
    found = session.scalars(wanted).all()
    more = len(found) > limit
    return AccountPage(found[:limit], found[limit - 1].id if more else None)


def due_for_evaluation(session: Session, *, catalog_digest: str, limit: int) -> Sequence[str]:
    """Accounts whose balance the passing of time, or a changed catalogue, has made out of date."""
    return session.scalars(
        select(Account.id)
        .where(or_(Account.evaluate_at <= func.now(), Account.catalog_digest != catalog_digest), _IS_THERE)
        .order_by(Account.evaluate_at.nulls_last())
        .limit(limit)
    ).all()


def now(session: Session) -> datetime:
    """The database's clock, at the start of this transaction."""
    return session.scalar(select(func.now()))  # type: ignore[return-value]  # now() is never null
