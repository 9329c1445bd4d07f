"""Subscriptions: what we last saw of them. When they are looked at again: see `models.sync_queue`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter
from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, func, select
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import SubscriptionNotFound
from domain.ownership import PROOF_KEY, LinkedBy, Owner, Placement
from domain.snapshot import SubscriptionSnapshot, SubscriptionStatus
from models.base import Base, Counter, Json, Moment, Written, affected

_SNAPSHOT = TypeAdapter(SubscriptionSnapshot)


@dataclass(frozen=True, slots=True)
class Figures:
    """What counts of a subscription; None where nothing is known. `seats` is
    {"full": {"included": 5, "addon": 10}}; `effect` is what the status did when it was last known.
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
    # The accounts that the app said it does not belong to, whatever its metadata names.
    refused_accounts: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    # The nonce of the checkout's proof that linked it: a proof serves one subscription.
    checkout_nonce: Mapped[str | None]

    # The schedule; `models.sync_queue` says what each of these means.
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
    # Since when the provider refuses every retrieve; None after an answer.
    refused_since: Mapped[Moment | None]

    # The last verified snapshot, and a newer one that only a webhook body vouches for (it may raise
    # seats until a retrieve confirms or clears it); see `domain.snapshot` for what is in them.
    snapshot: Mapped[Json | None]
    unverified: Mapped[Json | None]
    verified_at: Mapped[Moment | None]
    # What of the snapshot a list shows too, in short; see `domain.drift`.
    fingerprint: Mapped[str | None]
    # Since when the provider's list does not show it, though we have seen it there or elsewhere.
    unlisted_since: Mapped[Moment | None]
    # When a look last gave figures and a status whose meaning we know, and the product they were of: what
    # cannot be counted confirms nothing, and does not change the rules either.
    counted_at: Mapped[Moment | None]
    counted_product: Mapped[str | None]
    # When it was last looked at, whatever came of it: whose turn it is to be verified.
    looked_at: Mapped[Moment | None]
    # The last good figures that a sync confirmed, {"full": {"included": 5, "addon": 10}}, and the last
    # status we know the meaning of. What cannot be counted leaves them as they are.
    seats: Mapped[Json | None]
    status: Mapped[str | None]
    status_since: Mapped[Moment | None]
    effect: Mapped[str | None]
    # The figures of the unverified snapshot, which count while it stands; see `figures`.
    raised_seats: Mapped[Json | None]
    raised_status: Mapped[str | None]
    raised_effect: Mapped[str | None]
    # What was paid for, while the cart may hold more that came without a payment.
    paid_seats: Mapped[Json | None]
    # Since when it is unpaid, through all statuses that say so; NULL while it is paid.
    unpaid_since: Mapped[Moment | None]
    # The provider's own payment deadline; only webhook bodies carry it, a retrieve does not.
    past_due_ends_at: Mapped[Moment | None]
    # Since when the provider does not know it, though it did; and when it was given up for that.
    missing_since: Mapped[Moment | None]
    gone_at: Mapped[Moment | None]

    @property
    def verified(self) -> SubscriptionSnapshot | None:
        """What the last answered retrieve showed; None before the first."""
        return None if self.snapshot is None else snapshot_from_json(self.snapshot)

    @property
    def newest(self) -> SubscriptionSnapshot | None:
        """The snapshot the figures come from: the unverified one while it stands."""
        kept = self.unverified or self.snapshot
        return None if kept is None else snapshot_from_json(kept)

    @property
    def product_id(self) -> str | None:
        kept = self.unverified or self.snapshot
        return None if kept is None else kept["product_id"]

    @property
    def figures(self) -> Figures:
        """The figures in force: those of a webhook's body while it stands, else the verified ones."""
        if self.unverified is not None:
            return Figures(self.raised_seats, self.raised_status, self.raised_effect)
        return Figures(self.seats, self.status, self.effect)

    @property
    def placement(self) -> Placement:
        """Where it stands before its metadata is judged."""
        linked = self.account_id is not None and self.linked_by is not None
        return Placement(
            subscription_id=self.id,
            owner=Owner(str(self.account_id), LinkedBy(str(self.linked_by))) if linked else None,
            refused=frozenset(self.refused_accounts or ()),
        )

    def assign_to(self, owner: Owner | None, nonce: str | None = None) -> None:
        """Place it in the owner's account; None for none. `nonce` is that of the proof it rests on."""
        self.account_id = None if owner is None else owner.account_id
        self.linked_by = None if owner is None else owner.linked_by.value
        self.checkout_nonce = nonce or self.checkout_nonce

    def raise_to(self, figures: Figures, unverified: Json) -> None:
        """Let these figures count, which only a webhook's body vouches for."""
        self.unverified = unverified
        self.raised_seats, self.raised_status = figures.seats, figures.status
        self.raised_effect = figures.effect

    def drop_unverified(self) -> None:
        """The provider has answered: the verified figures stand, whatever a body said."""
        self.unverified = self.raised_seats = self.raised_status = self.raised_effect = None

    def facts(self) -> Json:
        """What the audit keeps of it."""
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
    """What is kept of a snapshot: of the metadata only the entry that may name the account, and its proof."""
    wanted = (account_key, PROOF_KEY) if account_key else ()
    metadata = snapshot.metadata or {}
    named = {key: metadata[key] for key in wanted if key in metadata}
    kept: Json = _SNAPSHOT.dump_python(replace(snapshot, metadata=named), mode="json")
    return kept


def snapshot_from_json(kept: Json) -> SubscriptionSnapshot:
    """The snapshot that `snapshot_to_json` made it of."""
    return _SNAPSHOT.validate_python(kept)


def insert_if_unknown(session: Session, subscription_id: str) -> bool:
    """A row for the subscription, if there is none yet; whether there was none."""
    new = insert(Subscription).values(id=subscription_id).on_conflict_do_nothing()
    return bool(affected(session, new))


def of_account(session: Session, account_id: str) -> Sequence[Subscription]:
    """The account's subscriptions, by id."""
    return session.scalars(
        select(Subscription).where(Subscription.account_id == account_id).order_by(Subscription.id)
    ).all()


def changeable_of(session: Session, account_id: str, seat_types: Collection[str]) -> Sequence[Subscription]:
    """Those of them whose cart the provider lets us change for these seat types: the active ones that sell
    them, or all active ones if none is known to.
    """
    active = [
        one
        for one in of_account(session, account_id)
        if one.figures.status == SubscriptionStatus.ACTIVE and one.gone_at is None
    ]
    return [one for one in active if set(seat_types) <= (one.figures.seats or {}).keys()] or active


_NEVER_PAID_OR_OVER = frozenset(
    {
        SubscriptionStatus.PENDING,
        SubscriptionStatus.CANCELLED,
        SubscriptionStatus.FAILED,
        SubscriptionStatus.EXPIRED,
    }
)


def standing_of(session: Session, account_id: str) -> Sequence[Subscription]:
    """Those of them that were paid for and have not ended, whether they give seats at the moment or not.

    One that no sync has reached yet may have been paid for, so it is among them; only a webhook's body, or
    nothing at all, says so far what it is. One that the provider has not known for too long has ended.
    """
    return [one for one in of_account(session, account_id) if _stands(one)]


def _stands(subscription: Subscription) -> bool:
    if subscription.gone_at is not None:
        return False
    status = subscription.figures.status
    if status is None:
        return subscription.synced < subscription.hint
    return status not in _NEVER_PAID_OR_OVER


def count(session: Session) -> int:
    """How many subscriptions are known."""
    return session.scalar(select(func.count()).select_from(Subscription)) or 0


def account_of(session: Session, subscription_id: str) -> str:
    """The account it belongs to; `SubscriptionNotFound` if it is unknown or has none yet."""
    account_id = session.scalar(select(Subscription.account_id).where(Subscription.id == subscription_id))
    if account_id is None:
        raise SubscriptionNotFound(f"No subscription {subscription_id!r} is known here.")
    return account_id
