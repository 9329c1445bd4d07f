"""The clock that other tests move: the service's statements and the schema's defaults go by it."""

from __future__ import annotations

from datetime import timedelta

from models import account
from models.account import Account
from runtime.wiring import Runtime
from services.ledger import accounts
from tests.clock import Clock
from tests.factories import NOON, a_cause

DAY = timedelta(days=1)


def test_the_services_now_is_the_clocks(clocked_runtime: Runtime, clock: Clock):
    clock.advance(DAY)
    with clocked_runtime.sessions() as session:
        assert account.now(session) == NOON + DAY


def test_what_is_written_is_dated_by_the_clock(clocked_runtime: Runtime, clock: Clock):
    with clocked_runtime.transaction() as session:
        accounts.open_account(session, "acme", clocked_runtime.catalog, a_cause())
    with clocked_runtime.sessions() as session:
        assert session.get(Account, "acme").created_at == NOON
