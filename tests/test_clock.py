"""The clock that tests move: the service's statements and the schema's defaults use it."""

from __future__ import annotations

from datetime import timedelta

from models import account
from models.account import Account
from runtime.wiring import Runtime
from services.ledger import accounts
from tests.clock import Clock
from tests.factories import NOON, a_cause

DAY = timedelta(days=1)


def test_the_service_reads_the_time_from_the_clock(clocked_runtime: Runtime, clock: Clock):
    clock.advance(DAY)
    with clocked_runtime.sessions() as session:
        assert account.now(session) == NOON + DAY


def test_column_defaults_read_the_time_from_the_clock(clocked_runtime: Runtime, clock: Clock):
    with clocked_runtime.transaction() as session:
        accounts.open_account(session, "acme", clocked_runtime.catalog, a_cause())
    with clocked_runtime.sessions() as session:
        assert session.get(Account, "acme").created_at == NOON
