"""The provider: its subscriptions, its catalogue, and what it announces about them."""

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
from simulator.webhooks.other_bodies import Occasion, plausible
from simulator.webhooks.outbox import Message
from simulator.webhooks.signing import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one provider is started with."""

    webhook_url: str
    webhook_secret: str
    api_key: str
    business_id: str = "bus_simulator"
    speed: float = 1.0
    seed: int = 0
    delivery_threads: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """An event to send whether or not anything happened; `data` or `raw` replace its body."""

    type: str
    subscription_id: str | None = None
    data: dict[str, object] | None = None
    raw: str | None = None
    timestamp: datetime | None = None
    business_id: str | None = None
    webhook_id: str | None = None


class World:
    """Everything that one running simulator knows."""

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
        """As on the first day; the webhook secret too."""
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
        """Let a rule change a subscription, and announce it unless it happens behind everyone's back."""
        with self.state.lock:
            now = datetime.now(UTC)
            return self._settle(rule(self.state.get(subscription_id), now), now, silently=silently)

    def open(self, wishes: new_subscription.Wishes, *, silently: bool = False) -> Subscription:
        """A new subscription with the wished fields."""
        with self.state.lock:
            now = datetime.now(UTC)
            subscription = new_subscription.draft(wishes, catalog=self.catalog, ids=self.ids, now=now)
            return self._settle(new_subscription.opened(subscription, wishes, now), now, silently=silently)

    def open_many(
        self, wishes: new_subscription.Wishes, count: int, account: str | None, *, silently: bool = True
    ) -> list[str]:
        """Many alike, fast; the ids come oldest first."""
        with self.state.lock:
            now = datetime.now(UTC)
            model = new_subscription.draft(wishes, catalog=self.catalog, ids=self.ids, now=now)
            outcome = new_subscription.opened(model, wishes, now)
            born = list(new_subscription.copies(outcome.subscription, count, account, self.ids))
            if silently:
                self.state.put(*born)
            else:
                for subscription in born:
                    self._settle(Outcome(subscription, outcome.events), now, silently=False)
            return [subscription.subscription_id for subscription in born]

    def emit(self, emission: Emission) -> Message:
        """Send an event out of the blue. A subscription nobody knows is made up, and not kept."""
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
            family, _, word = emission.type.partition(".")
            if emission.data is None and family != "subscription":
                occasion = Occasion(
                    word=word, subscription=subscription, now=now, business_id=business_id, ids=self.ids
                )
                event = replace(event, data=plausible(family, occasion))
            return self._post(event, emission.webhook_id)

    def read_body(self, event: Event) -> bytes:
        """The body to deliver now: the present state under the event's old time, unless frozen by a knob."""
        subscription = event.subscription
        if subscription and self.board.now.body == "at_delivery":
            subscription = self.state.find(subscription.subscription_id) or subscription
        return body_of(event, subscription)

    def _settle(self, outcome: Outcome, now: datetime, *, silently: bool) -> Subscription:
        """Keep the new state and the charges that go with it, and tell."""
        before = self.state.find(outcome.subscription.subscription_id)
        self.state.put(outcome.subscription)
        made = list(charges(outcome, before, now, ids=self.ids, ledger=self.ledger))
        for charge in made:
            self.ledger.enter(charge)
        if not silently:
            business_id = self.settings.business_id
            for event in announced(outcome, made, now, business_id=business_id, ids=self.ids):
                self._post(event)
        return outcome.subscription

    def _post(self, event: Event, webhook_id: str | None = None) -> Message:
        message = Message(webhook_id or self.ids.new("msg"), event)
        self.dispatcher.post(message)
        return message

    def _find_or_make_up(self, subscription_id: str | None, now: datetime) -> Subscription:
        known = self.state.find(subscription_id) if subscription_id else None
        wishes = {"subscription_id": subscription_id} if subscription_id else {}
        return known or new_subscription.draft(wishes, catalog=self.catalog, ids=self.ids, now=now)
