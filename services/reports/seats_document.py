"""The seats document: an account's committed rows, as the API shows them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import orjson
from sqlalchemy.orm import Session

from domain.balance import Balance, balances_from_json
from domain.catalog.model import Catalog
from domain.counts import cart_seats
from domain.findings import Uncountable
from domain.purchase.steps import scheduled_cart
from domain.seat_limit import to_json
from domain.snapshot import SubscriptionSnapshot
from models import account
from models.subscription import Subscription, of_account
from services.reports import history


@dataclass(frozen=True, slots=True)
class SeatsPage:
    """A finished document: its body, and the weak validator of what it shows."""

    body: bytes
    etag: str


def read(session: Session, account_id: str, catalog: Catalog, *, stale_after: timedelta) -> dict[str, Any]:
    """The document from the database, all of one moment. Raises `AccountNotFound`."""
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    found = account.get(session, account_id)
    subscriptions = of_account(session, account_id)
    now = account.now(session)
    balances = balances_from_json(found.seats)
    deadlines = [found.deadline, *(balance.deadline for balance in balances.values())]
    looked_at = [one.verified_at for one in subscriptions]
    return {
        "account_id": found.id,
        "status": found.status,
        "policy": found.policy,
        "version": found.version,
        "seats": {
            seat_type: seats_of(balance, found.rules_of(seat_type).policy)
            for seat_type, balance in balances.items()
        },
        "subscriptions": [
            shown for one in subscriptions if (shown := _subscription(one, catalog)) is not None
        ],
        "deadline": min(filter(None, deadlines), default=None),
        "as_of": now,
        "verified_at": min(filter(None, looked_at), default=None) if None not in looked_at else None,
        "stale": any(_is_stale(one, now, stale_after) for one in subscriptions),
        "source": "database",
    }


def read_at(session: Session, account_id: str, moment: datetime) -> dict[str, Any]:
    """The document as it was at `moment`, from the audit, which knows no versions and no billing dates.

    Raises `AccountNotFound`, and `NotKnownThen` before the account's first row.
    """
    past = history.account_at(session, account_id, moment)
    deadlines = [past.deadline, *(balance.deadline for balance in past.balances.values())]
    return {
        "account_id": account_id,
        "status": past.status,
        "policy": past.policy,
        "version": None,
        "seats": {
            seat_type: seats_of(balance, past.seat_policies.get(seat_type, past.policy))
            for seat_type, balance in past.balances.items()
        },
        "subscriptions": [
            {
                "subscription_id": subscription_id,
                "status": facts["status"],
                "product_id": facts["product_id"],
                "cancel_at_next_billing_date": None,
                "next_billing_date": None,
            }
            for subscription_id, facts in past.subscriptions.items()
        ],
        "deadline": min(filter(None, deadlines), default=None),
        "as_of": moment,
        "verified_at": None,
        "stale": not all(facts["verified"] for facts in past.subscriptions.values()),
        "source": "audit",
    }


def page(document: dict[str, Any]) -> SeatsPage:
    body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
    return finished(document["account_id"], document["version"], body)


def finished(account_id: str, version: int, body: bytes) -> SeatsPage:
    """A body with its validator: what is shown changes with the account's version, when trust in it
    goes or comes back, and when a subscription moves to another account.

    An id cannot forge the mark of staleness, its quotes would be escaped.
    """
    mark = "-stale" if b'"stale":true' in body else ""
    return SeatsPage(body, f'W/"{crc32(account_id.encode()):x}-{version}{mark}"')


def is_of(body: bytes, account_id: str) -> bool:
    """Whether the finished body is a document of this account, as far as its ends tell."""
    return body.startswith(b'{"account_id":' + orjson.dumps(account_id) + b",") and body.endswith(b"}")


def names(body: bytes, subscription_id: str) -> bool:
    """Whether the subscription is one of those the finished body lists."""
    return b'"subscription_id":' + orjson.dumps(subscription_id) in body


def seats_of(balance: Balance, policy: str) -> dict[str, Any]:
    """The figures of one seat type, and the policy that decides about it."""
    times = {"deadline": balance.clock.deadline, "suspends_at": balance.clock.suspends_at}
    return {
        "policy": policy,
        **balance.figures(),
        "included": to_json(balance.seats.included),
        "addon": balance.seats.addon,
        "contract": to_json(balance.seats.contract),
        "active": balance.active,
        "held": balance.held,
        **({"waiting": balance.waiting} if balance.waiting else {}),
        **{name: moment for name, moment in times.items() if moment is not None},
    }


def _subscription(subscription: Subscription, catalog: Catalog) -> dict[str, Any] | None:
    """The subscription as we believe it to be; nothing before anybody has said anything of it."""
    newest = subscription.newest
    if newest is None:
        return None
    return {
        "subscription_id": subscription.id,
        "status": subscription.figures.status or newest.status,
        "product_id": newest.product_id,
        "cancel_at_next_billing_date": newest.cancel_at_next_billing_date,
        "next_billing_date": newest.next_billing_date,
        **_scheduled(newest, catalog),
    }


def _scheduled(snapshot: SubscriptionSnapshot, catalog: Catalog) -> dict[str, Any]:
    """What waits for the renewal, if anything does; its seats unless the catalogue cannot count them."""
    change, cart = snapshot.scheduled_change, scheduled_cart(snapshot)
    if change is None or cart is None:
        return {}
    shown: dict[str, Any] = {"effective_at": change.effective_at}
    with suppress(Uncountable):
        seats = cart_seats(catalog, cart)
        shown["seats"] = {seat_type: to_json(of_type.purchased) for seat_type, of_type in seats.items()}
    return {"scheduled_change": shown}


def _is_stale(subscription: Subscription, now: datetime, stale_after: timedelta) -> bool:
    """Whether the figures are not what a recent look at the provider showed.

    True while only a webhook vouches for them, while looks fail, and when the last look is too old.
    """
    failing = subscription.last_error is not None
    unlooked = subscription.verified_at is None or now - subscription.verified_at > stale_after
    return subscription.unverified is not None or failing or unlooked
