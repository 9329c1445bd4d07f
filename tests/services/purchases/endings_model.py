"""What should have become of an account's cancellations: predicted from what the provider has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from simulator.world import World
from tests.simulated import units

ENDED = {"cancelled", "expired"}
MAY_STILL_ARRIVE = timedelta(minutes=1)


@dataclass
class Row:
    """A cancellation, and how it should stand. `id` is None for one that was found, until it is looked up."""

    subscription_id: str
    when: str
    state: str
    id: str | None = None
    token: str | None = None
    facts: object = None
    expires_at: datetime | None = None
    sent_at: datetime | None = None
    undo_sent_at: datetime | None = None
    is_late: bool = False

    @property
    def is_open(self) -> bool:
        return self.state in {"submitted", "scheduled"}

    @property
    def is_pending(self) -> bool:
        """Whether something was sent whose outcome is not known."""
        return self.state == "submitted" or self.undo_sent_at is not None


@dataclass
class Model:
    """One subscription at the provider, and what the service should show after its last sync."""

    world: World
    subscription_id: str
    now: datetime
    rows: list[Row] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    seen_ended: bool = False
    seen_cart: Mapping[str, int] = field(default_factory=dict)

    # The provider.

    @property
    def is_ended(self) -> bool:
        return self.world.state.get(self.subscription_id).status in ENDED

    @property
    def is_leaving(self) -> bool:
        return self.world.state.get(self.subscription_id).cancel_at_next_billing_date

    @property
    def cart(self) -> Mapping[str, int]:
        return units(self.world, self.subscription_id)

    @property
    def facts(self) -> object:
        """What a preview is made of."""
        kept = self.world.state.get(self.subscription_id)
        return (
            kept.subscription_id,
            kept.status,
            dict(self.cart),
            kept.cancel_at_next_billing_date,
            kept.next_billing_date,
        )

    # The service.

    @property
    def own(self) -> list[Row]:
        """Those of the subscription, the newest sent first and then those that were found."""
        rows = [row for row in self.rows if row.subscription_id == self.subscription_id]
        sent = [row for row in rows if row.sent_at is not None]
        found = [row for row in rows if row.token is None]
        return [*sorted(sent, key=lambda row: row.sent_at or self.now, reverse=True), *found]

    def sync(self) -> None:
        """Syncs decide, and each thing that one shows is one notice."""
        was_ended, self.seen_ended, self.seen_cart = self.seen_ended, self.is_ended, dict(self.cart)
        if self.is_ended:
            self._end(was_ended=was_ended)
        elif self.is_leaving:
            self._leave()
        else:
            for row in self.own:
                if row.state == "scheduled":
                    self.move(row, "undone")

    def _end(self, *, was_ended: bool) -> None:
        still_open = [row for row in self.own if row.is_open]
        late = [row for row in self.own if row.is_late]
        if still_open:
            self.move(still_open[0], "applied")
            for row in still_open[1:]:
                row.state, row.undo_sent_at = "applied", None
        elif was_ended:
            return
        elif late:
            self.move(late[0], "applied")
        elif self.world.state.get(self.subscription_id).status == "cancelled":
            self.move(self._found("now"), "applied")

    def _leave(self) -> None:
        scheduled = next((row for row in self.own if row.state == "scheduled"), None)
        for_renewal = [row for row in self.own if row.when == "at_renewal"]
        sent = next((row for row in for_renewal if row.state == "submitted"), None)
        late = next((row for row in for_renewal if row.is_late), None)
        if sent is None and scheduled is not None:
            return
        ours = sent or late
        if scheduled is not None:
            scheduled.state, scheduled.undo_sent_at = "undone", None
        self.move(ours or self._found("at_renewal"), "scheduled")

    def _found(self, when: str) -> Row:
        row = Row(self.subscription_id, when, "found")
        self.rows.append(row)
        return row

    def move(self, row: Row, state: str) -> None:
        row.state, row.undo_sent_at, row.is_late = state, None, state == "failed"
        self.notices.append(state)

    def refuses_preview(self, when: str) -> str | None:
        if self.seen_ended:
            return "NoSubscription"
        self.sync()
        if self.is_ended or (when == "at_renewal" and self.is_leaving):
            return "AlreadyEnding"
        return None

    def refuses_to_send(self, row: Row) -> str | None:
        """Why a preview is not confirmed; nothing is sent then."""
        if row.state == "expired":
            return "PreviewExpired"
        if row.subscription_id == self.subscription_id:
            self.sync()
        if row.expires_at is not None and self.now >= row.expires_at:
            row.state = "expired"
            return "PreviewExpired"
        if row.facts != self.facts:
            return "SubscriptionChanged"
        return "ChangeInFlight" if self.is_busy else None

    @property
    def is_busy(self) -> bool:
        return any(row.is_pending for row in self.own)

    def settle(self, row: Row) -> None:
        """As much of it as the time allows."""
        if not row.is_pending:
            return
        self.sync()
        sent_at = row.sent_at if row.state == "submitted" else row.undo_sent_at
        if not row.is_pending or sent_at is None or self.now - sent_at < MAY_STILL_ARRIVE:
            return
        if row.state == "submitted":
            self.move(row, "failed")
        else:
            row.undo_sent_at = None
            self.notices.append("undo_failed")
