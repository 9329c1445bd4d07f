"""History from the audit: an account's audit rows between two times, and the account and its members as they
were at one time.

Rows are ordered by id, which is the order of writing, because the account's lock serialises them. `at` is
when the row's transaction began; it may have waited for the lock after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from domain.balance import Balance, balances_from_json
from domain.emails import address_key
from domain.errors import NotKnownThen
from models import account
from models.assignment import Assignment, AssignmentPage, AssignmentState
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFilter:
    """Which members to list; None leaves a filter out. Without a `state`, all except released ones.

    `seat_type` may be `free` for members who take no seat. `email` matches any spelling of the address.
    """

    state: str | None = None
    member_id: str | None = None
    email: str | None = None
    role: str | None = None
    seat_type: str | None = None


def members_at(
    session: Session, account_id: str, moment: datetime, wanted: MemberFilter, *, after: int, limit: int
) -> AssignmentPage:
    """A page of the account's assignments as they were at `moment`, in the order of their ids, after the id
    `after`. The objects belong to no session.

    Names and addresses are those stored now, because the audit has none; when members were last active at
    that time is unknown. Raises what `account_at` raises.
    """
    past = account_at(session, account_id, moment)
    of_row = cast(AuditRow.subject_after["id"].astext, BigInteger)
    newest = (
        select(of_row.label("id"), AuditRow.subject_after.label("facts"))
        .where(
            AuditRow.account_id == account_id,
            AuditRow.id <= past.row_id,
            AuditRow.member_id.is_not(None),
        )
        .ext(distinct_on(of_row))
        .order_by(of_row, AuditRow.id.desc())
        .subquery()
    )
    facts = newest.c.facts
    found = (
        select(Assignment, facts)
        .join(newest, newest.c.id == Assignment.id)
        .where(Assignment.account_id == account_id, Assignment.id > after)
        .order_by(Assignment.id)
        .limit(limit + 1)
    )
    state = facts["state"].astext
    found = found.where(state != AssignmentState.RELEASED if wanted.state is None else state == wanted.state)
    for name in ("member_id", "role"):
        if (value := getattr(wanted, name)) is not None:
            found = found.where(facts[name].astext == value)
    if wanted.seat_type is not None:
        seat_type = facts["seat_type"].astext
        found = found.where(
            seat_type.is_(None) if wanted.seat_type == "free" else seat_type == wanted.seat_type
        )
    if wanted.email is not None:
        found = found.where(Assignment.email_key == address_key(wanted.email))
    page = [_assignment(row, its) for row, its in session.execute(found)]
    return AssignmentPage(page[:limit], page[limit - 1].id if len(page) > limit else None)


def _assignment(row: Assignment, facts: Json) -> Assignment:
    """The assignment with these facts of an audit row; what the audit does not have comes from the table."""
    is_released = facts["state"] == AssignmentState.RELEASED
    return Assignment(
        id=row.id,
        account_id=row.account_id,
        member_id=facts["member_id"],
        name=row.name,
        email=row.email,
        role=facts["role"],
        seat_type=facts["seat_type"],
        state=facts["state"],
        protected=facts["protected"],
        claimed_at=row.claimed_at,
        expires_at=datetime.fromisoformat(facts["expires_at"]) if facts["expires_at"] else None,
        released_at=row.released_at if is_released else None,
        awaits=facts.get("awaits"),
        last_active_at=None,
    )
