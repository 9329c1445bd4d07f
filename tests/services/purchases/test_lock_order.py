"""Whoever ends a change or a cancellation waits for its account first, as syncs do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from domain.provider_errors import TransientError
from models import cancellation, seat_change
from models.account import now
from models.seat_change import SeatChange
from runtime.wiring import Runtime
from services.ledger.locked_account import lock_account
from services.purchases import confirm, ending, settle, settle_ending
from services.purchases.preview import SeatRequest
from services.purchases.preview import preview as preview_change
from simulator.world import World
from tests.services.purchases.endings import cancelled, previewed
from tests.services.purchases.test_seat_changes import CART
from tests.simulated import sell
from tests.waiting import wait_until

End = Callable[[Runtime, str], object]
LATER = TransientError("The provider is away.")


def conclude_change(service: Runtime, change_id: str) -> None:
    with service.sessions() as session:
        moment = now(session)
    settle._conclude(service, change_id, moment, is_not_under_way=True)


def conclude_cancellation(service: Runtime, cancellation_id: str) -> None:
    with service.sessions() as session:
        moment = now(session)
    settle_ending._conclude(service, cancellation_id, moment)


def fail_change(service: Runtime, change_id: str) -> None:
    with service.sessions() as session:
        change = session.get_one(SeatChange, change_id)
    confirm._fail(service, change, LATER)


OF_CANCELLATIONS: Mapping[str, End] = {
    "refused": lambda service, row_id: ending._fail(service, row_id, LATER),
    "undo refused": lambda service, row_id: ending._withdraw_undo(service, row_id, LATER),
    "settled": conclude_cancellation,
}


def waits_for_the_account_alone(
    service: Runtime, end: Callable[[], object], lock_row: Callable[..., object]
) -> bool:
    """True if the row can be locked by whoever holds the account, while `end` waits for that."""
    is_waiting = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    with ThreadPoolExecutor(1) as pool:
        with service.sessions.begin() as session:
            lock_account(session, "acme")
            ended = pool.submit(end)
            wait_until(lambda: session.scalar(is_waiting), "it waits for the account")
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            lock_row(session)
        ended.result()
    return True


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, CART)


@pytest.mark.parametrize("how", OF_CANCELLATIONS)
def test_the_end_of_a_cancellation_waits_for_the_account(service: Runtime, sold: str, how: str):
    if how == "undo refused":
        row = cancelled(service)
        change_state = "UPDATE cancellations SET undo_sent_at = now()"
    else:
        row = previewed(service).cancellation
        change_state = "UPDATE cancellations SET state = 'submitted', sent_at = now() - interval '1 day'"
    with service.sessions.begin() as session:
        session.execute(text(change_state))
    assert waits_for_the_account_alone(
        service,
        lambda: OF_CANCELLATIONS[how](service, row.id),
        lambda session: cancellation.lock(session, row.id),
    )


@pytest.mark.parametrize("end", [fail_change, conclude_change])
def test_the_end_of_a_seat_change_waits_for_the_account(service: Runtime, sold: str, end: End):
    change = preview_change(service, "acme", SeatRequest(seats={"full": 23})).change
    with service.sessions.begin() as session:
        session.execute(
            text("UPDATE seat_changes SET state = 'submitted', sent_at = now() - interval '5 days'")
        )
    assert waits_for_the_account_alone(
        service, lambda: end(service, change.id), lambda session: seat_change.lock(session, change.id)
    )
