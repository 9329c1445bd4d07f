"""Accounts: the app's teams. Each row holds the account's seat balance and is the account's lock.

`seats` is the balance per seat type, `{"full": {"included": 5, "addon": 10, "contract": 0, "active": 9,
"held": 1}}`; `included` and `contract` may be the string "unlimited". It is a column of the account, so that
one statement takes the lock and reads the current balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, func, select, update
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
        Index("accounts_evaluated_by", "catalog_digest", postgresql_where=sql("deleted_at IS NULL")),
        Index(None, "status", "id"),
        Index(None, "opened_by_metadata_at", postgresql_where=sql("opened_by_metadata_at IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Written]
    version: Mapped[Counter]
    status: Mapped[str]
    # The rules in force, derived from the catalogue and the app's `override`: the policy, the time to come
    # back under the limit, whether members are suspended after it, and how long an invitation holds a seat.
    # `seat_policies` and `seat_terms` hold what differs for single seat types; `models.account_rules` reads
    # and writes them.
    policy: Mapped[str]
    seat_policies: Mapped[Json] = mapped_column(server_default="{}")
    seat_terms: Mapped[Json] = mapped_column(server_default="{}")
    grace: Mapped[timedelta] = mapped_column(server_default="14 days")
    suspend_after_grace: Mapped[bool] = mapped_column(server_default=sql("false"))
    hold: Mapped[timedelta]
    override: Mapped[Json | None]
    seats: Mapped[Json]
    # Whether the balance includes figures that come from a webhook body and are not confirmed by a sync.
    unverified: Mapped[bool] = mapped_column(server_default=sql("false"))
    deadline: Mapped[Moment | None]
    # The balance in the last notice to the app. A different balance needs a new notice.
    notified: Mapped[Json | None]
    # When time alone will next change the balance (a deadline, the first or last day of a contract, the
    # expiry of an invitation), and the digest of the catalogue it was derived from.
    evaluate_at: Mapped[Moment | None]
    catalog_digest: Mapped[str]
    # When it was created because plain subscription metadata named it; None if it was created otherwise. Such
    # accounts are limited per hour.
    opened_by_metadata_at: Mapped[Moment | None]
    # A deleted account keeps its row for the audit. To callers it does not exist.
    deleted_at: Mapped[Moment | None]

    def rules_of(self, seat_type: str) -> SeatRules:
        """The rules for claims on this seat type."""
        general = SeatRules(self.policy, self.grace, self.suspend_after_grace, self.hold)
        return read_seat_rules(general, self.seat_policies, self.seat_terms).get(seat_type, general)


_NOT_DELETED = Account.deleted_at.is_(None)


@dataclass(frozen=True, slots=True)
class AccountPage:
    accounts: Sequence[Account]
    next_cursor: str | None


def get(session: Session, account_id: str) -> Account:
    """The account as last committed, not locked. Raises `AccountNotFound` if it is unknown or deleted."""
    found = session.get(Account, account_id)
    if found is None or found.deleted_at is not None:
        raise AccountNotFound(account_id)
    return found


def lock(session: Session, account_id: str) -> None:
    """Lock the account's row, even if the account was deleted, until the end of the transaction."""
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())


def check_known(session: Session, account_id: str) -> None:
    """Raise `AccountNotFound` if the account never existed. A deleted account passes."""
    if session.get(Account, account_id) is None:
        raise AccountNotFound(account_id)


def exists(session: Session, account_id: str) -> bool:
    """Whether the account exists and is not deleted."""
    return session.scalar(select(Account.id).where(Account.id == account_id, _NOT_DELETED)) is not None


def insert_if_absent(session: Session, account_id: str, rules: Rules, *, by_metadata: bool = False) -> bool:
    """Create an empty account, still to be evaluated, or restore a deleted one. Returns False if it exists.

    `by_metadata` marks an account created only because plain subscription metadata named it.
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
    # Not as ON CONFLICT DO UPDATE: that would lock an existing row even if it is not changed, and so break
    # the locking order.
    deleted = update(Account).where(Account.id == account_id, Account.deleted_at.is_not(None))
    return bool(affected(session, deleted.values(deleted_at=None, opened_by_metadata_at=opened_at)))


def count_opened_by_metadata(session: Session, *, within: timedelta) -> int:
    """How many accounts were created by plain metadata within that time."""
    opened = select(func.count()).where(Account.opened_by_metadata_at > func.now() - within)
    return session.scalar(opened) or 0


def mark_deleted(session: Session, account_id: str) -> None:
    """Mark the account as deleted. Its row and audit stay."""
    affected(session, update(Account).where(Account.id == account_id).values(deleted_at=func.now()))


def page(session: Session, *, status: str | None, after: str | None, limit: int) -> AccountPage:
    """A page of accounts by id, starting after the cursor `after` (an account id)."""
    wanted = select(Account).where(_NOT_DELETED).order_by(Account.id).limit(limit + 1)
    if status is not None:
        wanted = wanted.where(Account.status == status)
    if after is not None:
        wanted = wanted.where(Account.id > after)
    found = session.scalars(wanted).all()
    more = len(found) > limit
    return AccountPage(found[:limit], found[limit - 1].id if more else None)


# One query per range of an index. With OR, or with `<>`, the whole table would be read.
_DUE_FOR_EVALUATION = sql(
    """
    (SELECT id FROM accounts WHERE evaluate_at <= now() AND deleted_at IS NULL
     ORDER BY evaluate_at LIMIT :limit)
    UNION ALL
    (SELECT id FROM accounts WHERE catalog_digest < :digest AND deleted_at IS NULL LIMIT :limit)
    UNION ALL
    (SELECT id FROM accounts WHERE catalog_digest > :digest AND deleted_at IS NULL LIMIT :limit)
    """
)


def due_for_evaluation(session: Session, *, catalog_digest: str, limit: int) -> Sequence[str]:
    """Ids of accounts whose balance is out of date: those with a date that was reached, longest due first,
    then those that another catalogue evaluated.
    """
    due = session.execute(_DUE_FOR_EVALUATION, {"digest": catalog_digest, "limit": limit}).scalars()
    return list(dict.fromkeys(due))[:limit]


def now(session: Session) -> datetime:
    """The database's clock, at the start of this transaction."""
    return session.scalar(select(func.now()))  # type: ignore[return-value]  # now() is never null
