"""Subscriptions: our copy of each one. `models.sync_queue` has the columns that say when it is synced."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, func, inspect, select
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, make_transient_to_detached, mapped_column

from domain.errors import SubscriptionNotFound
from domain.ownership import PROOF_KEY, LinkedBy, Owner, Placement
from domain.snapshot import SubscriptionSnapshot, SubscriptionStatus
from models.base import Base, Counter, Json, Moment, Written, affected
from models.driver import Row, all_rows, count_rows, first_row, jsonb

_SNAPSHOT = TypeAdapter(SubscriptionSnapshot)


@dataclass(frozen=True, slots=True)
class Figures:
    """A subscription's contribution to its account. Each field is None while it is unknown.

    `seats` is {"full": {"included": 5, "addon": 10}}; `effect` is the effect of the status by the catalogue.
    """

    seats: Json | None
    status: str | None
    effect: str | None


class Subscription(Base):
    __tablename__ = "subscriptions"
    __table_args__ = (
        CheckConstraint("0 <= synced AND synced <= hint", name="synced_within_hint"),
        CheckConstraint("(account_id IS NULL) = (linked_by IS NULL)", name="linked"),
        CheckConstraint("linked_by IN ('app', 'checkout', 'metadata', 'own_id')", name="linked_by"),
        CheckConstraint("(snapshot IS NULL) = (verified_at IS NULL)", name="verified"),
        Index(None, "routine", "next_at", postgresql_where=sql("hint > synced AND dead_reason IS NULL")),
        Index(None, "account_id"),
        Index(None, "looked_at"),
        Index(None, "verified_at"),
        Index(None, "verify_due_at"),
        Index("subscriptions_dead", "id", postgresql_where=sql("dead_reason IS NOT NULL")),
        Index(
            "subscriptions_woken",
            "rung_at",
            postgresql_where=sql("rung_at IS NOT NULL AND routine AND hint > synced AND dead_reason IS NULL"),
        ),
        Index(
            "subscriptions_one_checkout",
            "checkout_nonce",
            unique=True,
            postgresql_where=sql("checkout_nonce IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Written]
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    linked_by: Mapped[str | None]
    # Accounts that it does not belong to according to the app, whatever its metadata says.
    refused_accounts: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    # The nonce of the signed checkout that linked it. Each may link one subscription only.
    checkout_nonce: Mapped[str | None]

    # The sync queue; `models.sync_queue` explains these columns.
    hint: Mapped[Counter]
    synced: Mapped[Counter]
    fence: Mapped[Counter]
    routine: Mapped[bool] = mapped_column(server_default=sql("false"))
    lease_until: Mapped[Moment | None]
    next_at: Mapped[Written]
    rung_at: Mapped[Moment | None]
    attempts: Mapped[Counter]
    last_error: Mapped[str | None]
    dead_reason: Mapped[str | None]
    # Since when the provider has refused every retrieve; None after a successful one.
    refused_since: Mapped[Moment | None]

    # The last verified snapshot, and a newer one from a webhook body, which may raise seats until a retrieve
    # confirms or replaces it. `domain.snapshot` describes their content.
    snapshot: Mapped[Json | None]
    unverified: Mapped[Json | None]
    # The times of syncs: `looked_at` of the last one, whatever its result; `verified_at` of the last one that
    # gave a snapshot; `counted_at` of the last one whose snapshot could be counted.
    verified_at: Mapped[Moment | None]
    # A digest of those fields of the snapshot that list items have too; see `domain.drift`.
    fingerprint: Mapped[str | None]
    # Since when the provider's list no longer contains it.
    unlisted_since: Mapped[Moment | None]
    # When a sync last gave a known status and seats that could be counted, and for which product. A snapshot
    # that cannot be counted changes neither the figures nor the rules.
    counted_at: Mapped[Moment | None]
    counted_product: Mapped[str | None]
    # When it was last synced, with whatever result; decides which one is verified next.
    looked_at: Mapped[Moment | None]
    # When the timer next checks whether it must be verified; see `sync_queue.due_for_verification`. Only that
    # reads and writes it, so no other query loads it.
    verify_due_at: Mapped[Written] = mapped_column(deferred=True)
    # The last figures confirmed by a sync, {"full": {"included": 5, "addon": 10}}, and the last known
    # status. A snapshot that cannot be counted leaves them as they are.
    seats: Mapped[Json | None]
    status: Mapped[str | None]
    status_since: Mapped[Moment | None]
    effect: Mapped[str | None]
    # The figures of the unverified snapshot, in force while there is one; see `figures`.
    raised_seats: Mapped[Json | None]
    raised_status: Mapped[str | None]
    raised_effect: Mapped[str | None]
    # The seats that were paid for; set while the cart may contain more than that.
    paid_seats: Mapped[Json | None]
    # Since when it has been unpaid, across all statuses that mean so; NULL while it is paid.
    unpaid_since: Mapped[Moment | None]
    # The provider's payment deadline. Only webhook bodies contain it, retrieves do not.
    past_due_ends_at: Mapped[Moment | None]
    # Since when the provider has answered 404 for a subscription it had before, and when it was ended for
    # that.
    missing_since: Mapped[Moment | None]
    gone_at: Mapped[Moment | None]

    @property
    def verified(self) -> SubscriptionSnapshot | None:
        """The snapshot from the last successful retrieve; None before the first."""
        return None if self.snapshot is None else snapshot_from_json(self.snapshot)

    @property
    def newest(self) -> SubscriptionSnapshot | None:
        """The snapshot the figures come from: the unverified one if there is one, else the verified one."""
        stored = self.unverified or self.snapshot
        return None if stored is None else snapshot_from_json(stored)

    @property
    def product_id(self) -> str | None:
        stored = self.unverified or self.snapshot
        return None if stored is None else stored["product_id"]

    @property
    def figures(self) -> Figures:
        """The figures in force: those from a webhook body if there are any, else the verified ones."""
        if self.unverified is not None:
            return Figures(self.raised_seats, self.raised_status, self.raised_effect)
        return Figures(self.seats, self.status, self.effect)

    @property
    def placement(self) -> Placement:
        """Its current owner and refused accounts, for the decision about ownership."""
        return placement_from(self.id, self.account_id, self.linked_by, self.refused_accounts)

    def assign_to(self, owner: Owner | None, nonce: str | None = None) -> None:
        """Link it to the owner's account, or to none. `nonce` is that of the signed checkout behind it, if
        any.
        """
        self.account_id = None if owner is None else owner.account_id
        self.linked_by = None if owner is None else owner.linked_by.value
        self.checkout_nonce = nonce or self.checkout_nonce

    def raise_to(self, figures: Figures, unverified: Json) -> None:
        """Put figures from a webhook body into force, until a retrieve confirms or replaces them."""
        self.unverified = unverified
        self.raised_seats, self.raised_status = figures.seats, figures.status
        self.raised_effect = figures.effect

    def drop_unverified(self) -> None:
        """Return to the verified figures, because a retrieve succeeded."""
        self.unverified = self.raised_seats = self.raised_status = self.raised_effect = None

    def facts(self) -> Json:
        """The subscription as stored in the audit."""
        figures = self.figures
        return {
            "account_id": self.account_id,
            "linked_by": self.linked_by,
            "status": figures.status,
            "product_id": self.product_id,
            "seats": figures.seats,
            "verified": self.unverified is None,
            **({"refused_accounts": self.refused_accounts} if self.refused_accounts else {}),
        }


def snapshot_to_json(snapshot: SubscriptionSnapshot, account_key: str | None) -> Json:
    """The JSON to store. Of the metadata, only the account's id (under `account_key`) and its signature
    remain.
    """
    wanted = (account_key, PROOF_KEY) if account_key else ()
    metadata = snapshot.metadata or {}
    named = {key: metadata[key] for key in wanted if key in metadata}
    stored: Json = _SNAPSHOT.dump_python(replace(snapshot, metadata=named), mode="json")
    return stored


def snapshot_from_json(stored: Json) -> SubscriptionSnapshot:
    """The snapshot from the result of `snapshot_to_json`."""
    return _SNAPSHOT.validate_python(stored)


_COLUMNS = {column.name: column for column in Subscription.__table__.columns}
_LOCK = f"""
SELECT {", ".join(_COLUMNS)} FROM subscriptions
WHERE account_id = ANY (%(account_ids)s) OR id = %(subscription_id)s
ORDER BY id FOR UPDATE
"""  # noqa: S608  names of columns


def lock(
    session: Session, account_ids: Collection[str], subscription_id: str | None = None
) -> Sequence[Subscription]:
    """Lock the subscriptions of these accounts, and the one with this id, in the order of their ids.

    They belong to no session, since loading and flushing them there takes as long as the rest of a sync.
    `save` writes what was changed in them.
    """
    wanted = {"account_ids": list(account_ids), "subscription_id": subscription_id}
    return [_detached(row) for row in all_rows(session, _LOCK, wanted)]


def _detached(row: Row) -> Subscription:
    subscription = Subscription(**dict(zip(_COLUMNS, row, strict=True)))
    make_transient_to_detached(subscription)  # from here on it knows which of its columns were changed
    return subscription


def save(session: Session, subscription: Subscription) -> None:
    """Write the columns that were changed since `lock`. Call it before any query that reads them."""
    changed = sorted(_COLUMNS.keys() - inspect(subscription).unmodified)
    if not changed:
        return
    values = {name: _parameter(name, getattr(subscription, name)) for name in changed}
    assignments = ", ".join(f"{name} = %({name})s" for name in changed)
    statement = f"UPDATE subscriptions SET {assignments} WHERE id = %(id)s"  # noqa: S608  names of columns
    count_rows(session, statement, {**values, "id": subscription.id})


def _parameter(name: str, value: Any) -> object:
    return jsonb(value) if isinstance(_COLUMNS[name].type, JSONB) else value


_PLACEMENT = "SELECT account_id, linked_by, refused_accounts FROM subscriptions WHERE id = %(id)s"


def placement_of(session: Session, subscription_id: str) -> Placement:
    """The placement of a known subscription as last committed, not locked."""
    row = first_row(session, _PLACEMENT, {"id": subscription_id})
    assert row is not None  # subscriptions are never deleted
    return placement_from(subscription_id, *row)


def placement_from(
    subscription_id: str, account_id: str | None, linked_by: str | None, refused: Sequence[str] | None
) -> Placement:
    """The placement that these columns of the subscription's row stand for."""
    is_linked = account_id is not None and linked_by is not None
    owner = Owner(str(account_id), LinkedBy(str(linked_by))) if is_linked else None
    return Placement(subscription_id=subscription_id, owner=owner, refused=frozenset(refused or ()))


def insert_if_unknown(session: Session, subscription_id: str) -> bool:
    """Add a row for the subscription. Returns False if there is one already."""
    new = insert(Subscription).values(id=subscription_id).on_conflict_do_nothing()
    return bool(affected(session, new))


def of_account(session: Session, account_id: str) -> Sequence[Subscription]:
    """The account's subscriptions, by id."""
    return session.scalars(
        select(Subscription).where(Subscription.account_id == account_id).order_by(Subscription.id)
    ).all()


def changeable_of(session: Session, account_id: str, seat_types: Collection[str]) -> Sequence[Subscription]:
    """The account's active subscriptions that give these seat types, or all active ones if none does.

    The provider allows changes of active subscriptions only.
    """
    active = [
        one
        for one in of_account(session, account_id)
        if one.figures.status == SubscriptionStatus.ACTIVE and one.gone_at is None
    ]
    return [one for one in active if set(seat_types) <= (one.figures.seats or {}).keys()] or active


_UNPAID_OR_ENDED = frozenset(
    {
        SubscriptionStatus.PENDING,
        SubscriptionStatus.CANCELLED,
        SubscriptionStatus.FAILED,
        SubscriptionStatus.EXPIRED,
    }
)


def running_subscriptions_of(session: Session, account_id: str) -> Sequence[Subscription]:
    """The account's subscriptions that have been paid for and have not ended, even if they give no seats now.

    One whose status is still unknown is included while a sync is pending, because it may have been paid for.
    One that was ended because the provider no longer has it is not.
    """
    return [one for one in of_account(session, account_id) if _is_standing(one)]


def _is_standing(subscription: Subscription) -> bool:
    if subscription.gone_at is not None:
        return False
    status = subscription.figures.status
    if status is None:
        return subscription.synced < subscription.hint
    return status not in _UNPAID_OR_ENDED


# As the planner estimates it: the rows per page of the last ANALYZE, times the pages of today.
_ESTIMATE = sql(
    """
    SELECT reltuples / nullif(relpages, 0) * pg_relation_size(oid) / current_setting('block_size')::int
    FROM pg_class WHERE oid = 'subscriptions'::regclass
    """
)
_COUNTED_EXACTLY = 10_000


def approximate_count(session: Session) -> int:
    """The number of known subscriptions: exact up to some thousands, beyond that the planner's estimate."""
    estimate: float | None = session.scalar(_ESTIMATE)
    if estimate is not None and estimate > _COUNTED_EXACTLY:
        return round(estimate)
    return session.scalar(select(func.count()).select_from(Subscription)) or 0


def account_of(session: Session, subscription_id: str) -> str:
    """The id of the subscription's account. Raises `SubscriptionNotFound` if it is unknown or not linked
    yet.
    """
    account_id = session.scalar(select(Subscription.account_id).where(Subscription.id == subscription_id))
    if account_id is None:
        raise SubscriptionNotFound(f"Subscription {subscription_id!r} is unknown or has no account yet.")
    return account_id
