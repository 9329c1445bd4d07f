"""The state of the simulated provider, and the operations on it, which send webhooks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from simulator.billing import new_subscription
from simulator.billing.catalog import Catalog
from simulator.billing.charging import charges
from simulator.billing.checkout import CheckoutSession
from simulator.billing.ledger import Ledger
from simulator.billing.lifecycle import Outcome, Rule
from simulator.billing.state import State
from simulator.billing.subscription import Subscription
from simulator.ids import Ids
from simulator.knobs import KnobBoard, Knobs
from simulator.rate_limit import RateLimiter
from simulator.request_log import RequestLog
from simulator.webhooks.announcements import announced
from simulator.webhooks.delivery import Dispatcher
from simulator.webhooks.events import Event, EventType, body_of
from simulator.webhooks.other_bodies import EventContext, plausible
from simulator.webhooks.outbox import Message
from simulator.webhooks.signing import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings that a simulator is started with."""

    webhook_url: str
    webhook_secret: str
    api_key: str
    business_id: str = "bus_simulator"
    speed: float = 1.0
    seed: int = 0
    delivery_threads: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """An event to send without a change of state. `data` replaces its data, `raw` its whole body."""

    type: str
    subscription_id: str | None = None
    data: dict[str, object] | None = None
    raw: str | None = None
    timestamp: datetime | None = None
    business_id: str | None = None
    webhook_id: str | None = None


class World:
    """The state of one simulator."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalog = Catalog()
        self.state = State()
        self.ledger = Ledger()
        self.checkouts: dict[str, CheckoutSession] = {}
        self.ids = Ids(settings.seed)
        self.board = KnobBoard(Knobs(webhook_url=settings.webhook_url, speed=settings.speed))
        self.signer = Signer(settings.webhook_secret)
        self.dispatcher = Dispatcher(
            board=self.board,
            signer=self.signer,
            read_body=self.read_body,
            seed=settings.seed,
            threads=settings.delivery_threads,
        )
        self.requests = RequestLog()
        self.limiter = RateLimiter()

    def reset(self) -> None:
        """Restore the initial state, including the webhook secret."""
        with self.state.lock:
            self.board.reset()
            self.signer.reset()
            self.dispatcher.reset()
            self.state.clear()
            self.ledger.forget()
            self.checkouts.clear()
            self.catalog.restore()
            self.ids.reseed(self.settings.seed)
            self.requests.forget()
            self.limiter.forget()

    def apply(self, subscription_id: str, rule: Rule, *, silently: bool = False) -> Subscription:
        """Change a subscription by a rule, and send the webhooks about it unless `silently`."""
        with self.state.lock:
            now = datetime.now(UTC)
            return self._store(rule(self.state.get(subscription_id), now), now, silently=silently)

    def open(self, fields: new_subscription.Fields, *, silently: bool = False) -> Subscription:
        """Create a subscription with these fields."""
        with self.state.lock:
            now = datetime.now(UTC)
            subscription = new_subscription.draft(fields, catalog=self.catalog, ids=self.ids, now=now)
            return self._store(new_subscription.opened(subscription, fields, now), now, silently=silently)

    def open_many(
        self, fields: new_subscription.Fields, count: int, account: str | None, *, silently: bool = True
    ) -> list[str]:
        """Create many subscriptions with the same fields. Returns their ids, oldest first."""
        with self.state.lock:
            now = datetime.now(UTC)
            model = new_subscription.draft(fields, catalog=self.catalog, ids=self.ids, now=now)
            outcome = new_subscription.opened(model, fields, now)
            created = list(new_subscription.copies(outcome.subscription, count, account, self.ids))
            if silently:
                self.state.put(*created)
            else:
                for subscription in created:
                    self._store(Outcome(subscription, outcome.events), now, silently=False)
            return [subscription.subscription_id for subscription in created]

    def emit(self, emission: Emission) -> Message:
        """Send an event without a change of state. An unknown subscription is made up for it, not stored."""
        with self.state.lock:
            now = emission.timestamp or datetime.now(UTC)
            subscription = self._find_or_make_up(emission.subscription_id, now)
            business_id = emission.business_id or self.settings.business_id
            event = Event(
                type=emission.type,
                occurred_at=now,
                business_id=business_id,
                subscription=subscription,
                payment_id=self.ids.new("pay") if emission.type == EventType.RENEWED else None,
                data=emission.data,
                raw=emission.raw,
            )
            if emission.data is None:
                event = self._with_plausible_data(event, subscription)
            return self._post(event, emission.webhook_id)

    def _with_plausible_data(self, event: Event, subscription: Subscription) -> Event:
        """The event with data for its type. Events about subscriptions get their data from the state."""
        family, _, action = event.type.partition(".")
        if family == "subscription":
            return event
        context = EventContext(
            action=action,
            subscription=subscription,
            now=event.occurred_at,
            business_id=event.business_id,
            ids=self.ids,
        )
        return replace(event, data=plausible(family, context))

    def read_body(self, event: Event) -> bytes:
        """The body to deliver now: the current state with the event's time, unless a knob freezes it."""
        subscription = event.subscription
        if subscription and self.board.now.body == "at_delivery":
            subscription = self.state.find(subscription.subscription_id) or subscription
        return body_of(event, subscription)

    def _store(self, outcome: Outcome, now: datetime, *, silently: bool) -> Subscription:
        """Store the new state and its charges, and send the webhooks about them."""
        before = self.state.find(outcome.subscription.subscription_id)
        self.state.put(outcome.subscription)
        new_charges = list(charges(outcome, before, now, ids=self.ids, ledger=self.ledger))
        for charge in new_charges:
            self.ledger.enter(charge)
        if not silently:
            business_id = self.settings.business_id
            for event in announced(outcome, new_charges, now, business_id=business_id, ids=self.ids):
                self._post(event)
        return outcome.subscription

    def _post(self, event: Event, webhook_id: str | None = None) -> Message:
        message = Message(webhook_id or self.ids.new("msg"), event)
        self.dispatcher.post(message)
        return message

    def _find_or_make_up(self, subscription_id: str | None, now: datetime) -> Subscription:
        known = self.state.find(subscription_id) if subscription_id else None
        fields = {"subscription_id": subscription_id} if subscription_id else {}
        return known or new_subscription.draft(fields, catalog=self.catalog, ids=self.ids, now=now)
