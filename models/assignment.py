"""Assignments: the members of an account and the seats they hold. Members with a free role hold none.

held -> active -> released, with suspended beside active. An assignment is live until it is released. Partial
unique indexes allow one live assignment per member and per e-mail address.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, and_, func, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from domain.balance import Counted
from domain.emails import address_key
from models.base import Base, Json, Moment, Written
from models.driver import first_row

LIVE = sql("state <> 'released'")
# Invitations, which lapse; a held seat that is still to be bought does not.
LAPSES = sql("state = 'held' AND awaits IS NULL")


class AssignmentState(StrEnum):
    HELD = "held"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    RELEASED = "released"


class Assignment(Base):
    __tablename__ = "assignments"
    __table_args__ = (
        CheckConstraint("state IN ('held', 'active', 'suspended', 'released')", name="state"),
        CheckConstraint("(state = 'held') = (expires_at IS NOT NULL)", name="held_expires"),
        CheckConstraint("(state = 'released') = (released_at IS NOT NULL)", name="released_at"),
        CheckConstraint("awaits IS NULL OR (state = 'held' AND awaits IN ('active', 'held'))", name="awaits"),
        Index("assignments_one_per_member", "account_id", "member_id", unique=True, postgresql_where=LIVE),
        Index(
            "assignments_one_per_address",
            "account_id",
            "email_key",
            unique=True,
            postgresql_where=sql("state <> 'released' AND email_key IS NOT NULL AND NOT email_shared"),
        ),
        Index("assignments_of_member", "account_id", "member_id"),
        Index(None, "account_id", "id"),
        Index("assignments_held", "account_id", "expires_at", postgresql_where=sql("state = 'held'")),
        Index("assignments_waiting", "account_id", "id", postgresql_where=sql("awaits IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    member_id: Mapped[str]
    # Personal data, like the address: shown to people who choose which members to release, never written to
    # the audit, erased on request.
    name: Mapped[str | None]
    email: Mapped[str | None]
    # The normalised address, equal for all its spellings (`domain.emails`).
    email_key: Mapped[str | None]
    # Another live row already had the same normalised address when these were introduced. Claims for the
    # address use that row; a person has to decide about this one.
    email_shared: Mapped[bool] = mapped_column(server_default=sql("false"))
    role: Mapped[str]
    # None for a free role, which takes no seat.
    seat_type: Mapped[str | None]
    state: Mapped[str]
    protected: Mapped[bool] = mapped_column(server_default=sql("false"))
    claimed_at: Mapped[Written]
    expires_at: Mapped[Moment | None]
    released_at: Mapped[Moment | None]
    # While its seat is being bought: the state it gets then, `active`, or `held` for an invitation. Else
    # None.
    awaits: Mapped[str | None]
    # As reported by the app; None if it never did.
    last_active_at: Mapped[Moment | None]

    @property
    def occupies_seat(self) -> bool:
        return self.seat_type is not None and self.state in (AssignmentState.ACTIVE, AssignmentState.HELD)

    @property
    def is_invitation(self) -> bool:
        """Whether it is an invitation not yet accepted. The pending claim of an active member is not one."""
        return self.state == AssignmentState.HELD and self.awaits != AssignmentState.ACTIVE

    @property
    def reason(self) -> str:
        """Why the member counts or does not count, as a phrase for people."""
        if self.seat_type is None:
            return f"the role {self.role} is free"
        seat = f"a {self.seat_type} seat"
        if self.awaits is not None:
            return f"{seat} is held until it is bought"
        return {
            AssignmentState.HELD: f"{seat} is held until the invitation is accepted or expires",
            AssignmentState.ACTIVE: f"holds {seat}",
            AssignmentState.SUSPENDED: "suspended: takes no seat until reactivated",
            AssignmentState.RELEASED: "the seat was released",
        }[AssignmentState(self.state)]

    @property
    def counted(self) -> Counted:
        """What it adds to the balance of its seat type."""
        return Counted(
            active=int(self.state == AssignmentState.ACTIVE),
            held=int(self.state == AssignmentState.HELD),
            waiting=int(self.awaits is not None),
        )

    def set_address(self, email: str) -> None:
        """Set the member's address and its normalised form."""
        self.email, self.email_key, self.email_shared = email.strip(), address_key(email), False

    def give_back(self, at: datetime) -> None:
        """Release the seat at this time."""
        self.state, self.expires_at, self.awaits = AssignmentState.RELEASED, None, None
        self.released_at = at

    def facts(self) -> Json:
        """The assignment as stored in the audit: enough to replay who held which seat, no personal data."""
        return {
            "id": self.id,
            "member_id": self.member_id,
            "state": self.state,
            "role": self.role,
            "seat_type": self.seat_type,
            "protected": self.protected,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            **({"awaits": self.awaits} if self.awaits else {}),
        }


@dataclass(frozen=True, slots=True)
class AssignmentPage:
    assignments: Sequence[Assignment]
    next_cursor: int | None


def live(session: Session, account_id: str, member_id: str) -> Assignment | None:
    """The member's live assignment; None if there is none."""
    return session.scalar(
        select(Assignment).where(Assignment.account_id == account_id, LIVE, Assignment.member_id == member_id)
    )


def live_ids(session: Session, account_id: str, member_ids: Collection[str]) -> Collection[str]:
    """Those of the members who have a live assignment."""
    wanted = select(Assignment.member_id).where(
        Assignment.account_id == account_id, LIVE, Assignment.member_id.in_(member_ids)
    )
    return set(session.scalars(wanted))


_COLUMNS = (
    *("id", "account_id", "member_id", "name", "email", "role", "seat_type", "state", "protected"),
    *("claimed_at", "expires_at", "released_at", "awaits", "last_active_at"),
)
_NEWEST = f"""
SELECT {", ".join(_COLUMNS)} FROM assignments WHERE account_id = %(account_id)s AND member_id = %(member_id)s
ORDER BY state = 'released', id DESC LIMIT 1
"""  # noqa: S608  columns, named above


def newest(session: Session, account_id: str, member_id: str) -> Assignment | None:
    """The member's live assignment, else the last released one; None if there never was one.

    The object is detached from the session, so changes to it are not saved. The query goes through the
    driver's cursor because apps ask for single members very often.
    """
    row = first_row(session, _NEWEST, {"account_id": account_id, "member_id": member_id})
    return None if row is None else Assignment(**dict(zip(_COLUMNS, row, strict=True)))


def live_address(session: Session, account_id: str, email: str) -> Assignment | None:
    """The live assignment with this e-mail address, in any spelling; None if there is none."""
    return session.scalar(
        select(Assignment).where(
            Assignment.account_id == account_id,
            LIVE,
            Assignment.email_key == address_key(email),
            ~Assignment.email_shared,
        )
    )


@dataclass(frozen=True, slots=True)
class SharedAddress:
    """A live member with the address of another live member, from before addresses had to be unique."""

    account_id: str
    member_id: str
    other_member_id: str


def shared_addresses(session: Session) -> Sequence[SharedAddress]:
    """All members who share an address with another member, by account."""
    other = aliased(Assignment)
    found = session.execute(
        select(Assignment.account_id, Assignment.member_id, other.member_id)
        .join(
            other,
            and_(
                other.account_id == Assignment.account_id,
                other.email_key == Assignment.email_key,
                other.state != AssignmentState.RELEASED,
                ~other.email_shared,
            ),
        )
        .where(Assignment.state != AssignmentState.RELEASED, Assignment.email_shared)
        .order_by(Assignment.account_id, Assignment.id)
    )
    return [SharedAddress(*row) for row in found]


def has_members(session: Session, account_id: str) -> bool:
    """Whether the account has a live assignment."""
    return (
        session.scalar(select(Assignment.id).where(Assignment.account_id == account_id, LIVE).limit(1))
        is not None
    )


def lapsed_invitations(session: Session, account_id: str) -> Sequence[Assignment]:
    """The account's expired invitations, oldest first."""
    return session.scalars(
        select(Assignment)
        .where(
            Assignment.account_id == account_id,
            LAPSES,
            Assignment.expires_at <= func.now(),
        )
        .order_by(Assignment.expires_at, Assignment.id)
    ).all()


def newest_id(session: Session, account_id: str, member_id: str) -> int | None:
    """The id of the member's newest assignment in any state; None if there never was one."""
    return session.scalar(
        select(func.max(Assignment.id)).where(
            Assignment.account_id == account_id, Assignment.member_id == member_id
        )
    )


def awaiting_purchase(session: Session, account_id: str) -> Sequence[Assignment]:
    """The account's pending claims (held seats that are still being bought), oldest first."""
    return session.scalars(
        select(Assignment)
        .where(Assignment.account_id == account_id, Assignment.awaits.is_not(None))
        .order_by(Assignment.id)
    ).all()


def page(
    session: Session,
    account_id: str,
    *,
    state: str | None,
    member_id: str | None,
    email: str | None,
    role: str | None,
    seat_type: str | None,
    after: int | None,
    limit: int,
) -> AssignmentPage:
    """A page of the account's assignments, oldest first, starting after the id `after`.

    Without a `state`, the live ones. `email` matches any spelling of the address. `seat_type` may be `free`
    for members who take no seat.
    """
    wanted = select(Assignment).where(Assignment.account_id == account_id).order_by(Assignment.id)
    wanted = wanted.where(LIVE if state is None else Assignment.state == state)
    if member_id is not None:
        wanted = wanted.where(Assignment.member_id == member_id)
    if email is not None:
        wanted = wanted.where(Assignment.email_key == address_key(email))
    if role is not None:
        wanted = wanted.where(Assignment.role == role)
    if seat_type is not None:
        wanted = wanted.where(Assignment.seat_type == (None if seat_type == "free" else seat_type))
    if after is not None:
        wanted = wanted.where(Assignment.id > after)
    found = session.scalars(wanted.limit(limit + 1)).all()
    more = len(found) > limit
    return AssignmentPage(found[:limit], found[limit - 1].id if more else None)
