"""History from the audit: an account's audit rows between two times, and the account as it was at one time.

Rows are ordered by id, which is the order of writing, because the account's lock serialises them. `at` is
when the row's transaction began; it may have waited for the lock after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from domain.balance import Balance, balances_from_json
from domain.errors import NotKnownThen
from models import account
from models.audit import AuditRow
from models.base import Json


@dataclass(frozen=True, slots=True)
class PastAccount:
    """An account at one moment. `subscriptions` maps the ids of its subscriptions to their facts in the
    newest audit row until then. Subscriptions that were never seen are left out.
    """

    row_id: int
    status: str
    policy: str
    seat_policies: Mapping[str, str]
    deadline: datetime | None
    balances: Mapping[str, Balance]
    subscriptions: Mapping[str, Json]


def rows(
    session: Session,
    account_id: str,
    *,
    since: datetime | None,
    until: datetime | None,
    after: int,
    upto: int,
    limit: int,
) -> Sequence[AuditRow]:
    """At most `limit` of the account's rows with `since` <= `at` < `until` and `after` < id <= `upto`."""
    wanted = select(AuditRow).where(
        AuditRow.account_id == account_id, AuditRow.id > after, AuditRow.id <= upto
    )
    if since is not None:
        wanted = wanted.where(AuditRow.at >= since)
    if until is not None:
        wanted = wanted.where(AuditRow.at < until)
    return session.scalars(wanted.order_by(AuditRow.id).limit(limit)).all()


def newest_id(session: Session, account_id: str) -> int:
    """The id of the account's newest row; 0 if it has none."""
    return session.scalar(select(func.max(AuditRow.id)).where(AuditRow.account_id == account_id)) or 0


def account_at(session: Session, account_id: str, moment: datetime) -> PastAccount:
    """The account as it was at `moment`.

    Raises `AccountNotFound`, and `NotKnownThen` before the account's first row.
    """
    account.get(session, account_id)
    past = _last(session, account_id, AuditRow.at <= moment)
    if past is None:
        first = session.scalar(select(func.min(AuditRow.at)).where(AuditRow.account_id == account_id))
        raise NotKnownThen(account_id, first)
    return past


def account_before(session: Session, account_id: str, *, before: datetime) -> PastAccount | None:
    """The account as it was just before that time; None if it did not exist yet."""
    return _last(session, account_id, AuditRow.at < before)


def _last(session: Session, account_id: str, when: ColumnElement[bool]) -> PastAccount | None:
    last = session.execute(
        select(AuditRow.id, AuditRow.after)
        .where(AuditRow.account_id == account_id, when)
        .order_by(AuditRow.id.desc())
        .limit(1)
    ).first()
    if last is None:
        return None
    row_id, facts = last
    return PastAccount(
        row_id=row_id,
        status=facts["status"],
        policy=facts["policy"],
        seat_policies={name: kept["policy"] for name, kept in facts["seats"].items() if "policy" in kept},
        deadline=datetime.fromisoformat(facts["deadline"]) if facts["deadline"] else None,
        balances=balances_from_json(facts["seats"]),
        subscriptions=_subscriptions(session, account_id, row_id),
    )


def _subscriptions(session: Session, account_id: str, row_id: int) -> Mapping[str, Json]:
    newest = session.execute(
        select(AuditRow.subscription_id, AuditRow.subject_after)
        .where(
            AuditRow.account_id == account_id, AuditRow.id <= row_id, AuditRow.subscription_id.is_not(None)
        )
        .ext(distinct_on(AuditRow.subscription_id))
        .order_by(AuditRow.subscription_id, AuditRow.id.desc())
    )
    return {
        subscription_id: facts
        for subscription_id, facts in newest
        if subscription_id and facts and facts["account_id"] == account_id and facts["product_id"]
    }
