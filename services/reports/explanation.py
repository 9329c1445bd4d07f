"""Why an account's figures are what they are: what gives its seats, what moved them, who takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, and_, cast, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from domain import explain
from domain.balance import Balance, balances_from_json
from domain.catalog.model import Catalog
from domain.explain import Holding, Source
from models import account
from models.account import Account
from models.assignment import Assignment, AssignmentState
from models.audit import AuditRow
from models.subscription import Subscription, of_account
from services.ledger.entitlements import effect_of, share_of
from services.reports import history
from services.reports.history import PastAccount

_LOOKS_BACK: Final = timedelta(days=30)
_SEATED: Final = (AssignmentState.ACTIVE, AssignmentState.HELD)


@dataclass(frozen=True, slots=True)
class Origin:
    """A subscription that gives seats, or would, and the audit row that told of its newest change."""

    subscription: Subscription
    last_change: AuditRow | None


@dataclass(frozen=True, slots=True)
class ExplainedMember:
    """A member's assignment, and the audit row that brought it into its state, onto its seat or to its id."""

    assignment: Assignment
    since: AuditRow | None


@dataclass(frozen=True, slots=True)
class MemberList:
    """So many of them in all, and the first few."""

    total: int
    listed: Sequence[ExplainedMember]


@dataclass(frozen=True, slots=True)
class Moves:
    """The audit rows that moved a figure or the status, so many in all and the newest of them, the oldest
    first; and the account as it was before them, None where nothing was known of it then.
    """

    since: datetime
    before: PastAccount | None
    total: int
    newest: Sequence[AuditRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One account, all of one moment. `sources` give what `balances` show as purchased, unless the account
    is about to be worked out anew.
    """

    account: Account
    now: datetime
    balances: Mapping[str, Balance]
    sources: Sequence[Source]
    origins: Mapping[str, Origin]
    moves: Moves
    counted: MemberList
    not_counted: MemberList


def explain_account(
    session: Session, account_id: str, catalog: Catalog, *, since: datetime | None, at_most: int
) -> Explanation:
    """Explain the account's figures, with what moved them from `since` on, or in the last 30 days; of members
    and of rows that moved something `at_most` so many are listed. Raises `AccountNotFound`.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    found = account.get(session, account_id)
    now = account.now(session)
    subscriptions = of_account(session, account_id)
    holdings = [_holding(one, catalog, now) for one in subscriptions]
    return Explanation(
        account=found,
        now=now,
        balances=balances_from_json(found.seats),
        sources=explain.sources(catalog, account_id, holdings, now=now),
        origins={one.id: Origin(one, _last_change(session, account_id, one.id)) for one in subscriptions},
        moves=_moves(session, account_id, since or now - _LOOKS_BACK, at_most),
        counted=_people(session, account_id, _counts(), at_most),
        not_counted=_people(session, account_id, _does_not_count(account_id), at_most),
    )


def _holding(subscription: Subscription, catalog: Catalog, now: datetime) -> Holding:
    return Holding(
        subscription_id=subscription.id,
        snapshot=subscription.newest,
        status=subscription.figures.status,
        effect=effect_of(subscription, catalog),
        provider_deadline=subscription.past_due_ends_at,
        is_counted=subscription.figures.seats is not None,
        is_gone=subscription.gone_at is not None,
        share=share_of(subscription, catalog, now),
    )


def _last_change(session: Session, account_id: str, subscription_id: str) -> AuditRow | None:
    return session.scalar(
        select(AuditRow)
        .where(AuditRow.subscription_id == subscription_id, AuditRow.account_id == account_id)
        .order_by(AuditRow.id.desc())
        .limit(1)
    )


def _moves(session: Session, account_id: str, since: datetime, at_most: int) -> Moves:
    moved = and_(
        AuditRow.account_id == account_id,
        AuditRow.at >= since,
        or_(
            AuditRow.before["seats"].is_distinct_from(AuditRow.after["seats"]),
            AuditRow.before["status"].is_distinct_from(AuditRow.after["status"]),
        ),
    )
    newest = session.scalars(select(AuditRow).where(moved).order_by(AuditRow.id.desc()).limit(at_most))
    return Moves(
        since=since,
        before=history.account_before(session, account_id, before=since),
        total=session.scalar(select(func.count()).select_from(AuditRow).where(moved)) or 0,
        newest=newest.all()[::-1],
    )


def _counts() -> ColumnElement[bool]:
    return and_(Assignment.seat_type.is_not(None), Assignment.state.in_(_SEATED))


def _does_not_count(account_id: str) -> ColumnElement[bool]:
    """Everybody else, each once: of those who left and are not back, the seat they had last."""
    their_last = (
        select(Assignment.id)
        .where(Assignment.account_id == account_id)
        .ext(distinct_on(Assignment.member_id))
        .order_by(
            Assignment.member_id,
            (Assignment.state != AssignmentState.RELEASED).desc(),
            Assignment.id.desc(),
        )
    )
    return and_(~_counts(), Assignment.id.in_(their_last))


def _people(session: Session, account_id: str, which: ColumnElement[bool], at_most: int) -> MemberList:
    """Those who are there first, by seat type; then who left, the latest first."""
    those = and_(Assignment.account_id == account_id, which)
    found = session.scalars(
        select(Assignment)
        .where(those)
        .order_by(Assignment.released_at.desc().nulls_first(), Assignment.seat_type, Assignment.id)
        .limit(at_most)
    ).all()
    since = _since(session, account_id, found)
    return MemberList(
        total=session.scalar(select(func.count()).select_from(Assignment).where(those)) or 0,
        listed=[ExplainedMember(one, since.get(one.id)) for one in found],
    )


def _since(session: Session, account_id: str, people: Sequence[Assignment]) -> Mapping[int, AuditRow]:
    """The row that brought each into the state and onto the seat it is in."""
    seat = cast(AuditRow.subject_after["id"].astext, BigInteger)
    told = session.execute(
        select(seat, AuditRow)
        .where(
            AuditRow.account_id == account_id,
            AuditRow.member_id.in_({one.member_id for one in people}),
            or_(
                AuditRow.subject_before["state"].is_distinct_from(AuditRow.subject_after["state"]),
                AuditRow.subject_before["seat_type"].is_distinct_from(AuditRow.subject_after["seat_type"]),
                AuditRow.subject_before["member_id"].is_distinct_from(AuditRow.subject_after["member_id"]),
            ),
        )
        .ext(distinct_on(seat))
        .order_by(seat, AuditRow.id.desc())
    )
    return {seat_id: row for seat_id, row in told}  # noqa: C416  rows are more than pairs to the type checker
