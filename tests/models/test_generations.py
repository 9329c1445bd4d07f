"""Two catalogues or releases at the same time: only the newer one evaluates accounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from models import generation, sync_queue
from models.account import Account
from models.audit import AuditRow
from runtime.wiring import Runtime
from services.ledger import accounts, links, subscriptions, unverified_webhooks
from services.purchases.auto_expand import expand
from services.sync import full_sync
from services.sync.on_demand import sync_subscription
from services.sync.subscription import LEASE, SyncOutcome, sync
from tests.acme import DAY, Acme
from tests.clock import Clock
from tests.factories import NOON, a_cause
from worker.sweep import Sweep

GRACE = "[products.pdt_of_grace]"
CHANGES = {
    "other seats": (GRACE, f"{GRACE}\nincluded = {{ full = 1 }}"),
    "another period": (GRACE, f"{GRACE}\ngrace_days = 90"),
    "another policy": ('policy = "grace"', 'policy = "soft"'),
    "other roles": ('member = "full"', 'member = "viewer"'),
    "another release": None,
}


@pytest.fixture
def acme(clocked_runtime: Runtime, clock: Clock) -> Acme:
    """An account with three members on one seat, under a deadline."""
    acme = Acme(clocked_runtime, clock)
    acme.buys("grace", 1)
    acme.seats("first", "second", "third")
    return acme


@pytest.fixture(params=CHANGES.values(), ids=CHANGES.keys())
def old(request: pytest.FixtureRequest, acme: Acme) -> Runtime:
    """A process of the previous generation, after a newer one has evaluated `acme`."""
    before = acme.runtime
    if request.param is None:
        acme.runtime = replace(before, catalog=replace(before.catalog, release="newer"))
        acme.is_swept()
    else:
        acme.edits_catalogue(*request.param)
    return before


def facts(acme: Acme) -> Any:
    """The account's whole row, and how often it was changed."""
    with acme.runtime.sessions() as session:
        row = session.execute(select(Account.__table__).where(Account.id == "acme")).one()
        return row, session.scalar(select(func.count()).select_from(AuditRow))


def swept(runtime: Runtime) -> None:
    Sweep(runtime, lambda _: None)._evaluate_due_accounts()


def hinted(runtime: Runtime) -> None:
    with runtime.sessions.begin() as session:
        sync_queue.raise_hint(session, "sub_1")


def test_while_both_run_the_older_one_rewrites_nothing(acme: Acme, old: Runtime):
    before = facts(acme)
    for _ in range(3):
        acme.clock.advance(DAY)
        swept(old)
        assert facts(acme) == before
        swept(acme.runtime)
    assert facts(acme) == before


def test_what_time_asks_for_is_done_by_the_newer_one(acme: Acme, old: Runtime):
    acme.seats("invited", role="viewer", hold=True)
    acme.clock.advance(8 * DAY)
    swept(old)
    assert "invited" in acme.states()
    swept(acme.runtime)
    assert "invited" not in acme.states()


def test_the_older_one_retrieves_nothing_and_leaves_it_to_the_newer(acme: Acme, old: Runtime):
    acme.changes_silently(quantity=7)
    hinted(old)
    asked = len(acme.provider.retrieved)
    assert sync(old, "sub_1") is SyncOutcome.OUTDATED
    assert sync_subscription(old, "sub_1", patience=0.2).waiting
    assert len(acme.provider.retrieved) == asked
    assert sync(acme.runtime, "sub_1") is SyncOutcome.SYNCED
    assert acme.purchased >= 7


def test_a_full_sync_by_the_older_one_says_why_it_waits(acme: Acme, old: Runtime):
    hinted(old)
    work = full_sync._sync_due(old)
    assert work is not None
    assert "seatsync migrate" in str(work[1])


def test_a_retrieve_under_way_when_the_newer_one_comes_writes_nothing(acme: Acme):
    old = acme.runtime
    hinted(old)
    with old.sessions.begin() as session:
        lease = sync_queue.lease(session, ["sub_1"], LEASE)[0]
    assert lease is not None
    acme.edits_catalogue(*CHANGES["other seats"])
    before = facts(acme)
    with old.transaction() as session:
        snapshot = replace(acme.sold, quantity=9)
        assert subscriptions.apply(session, lease, snapshot, old.catalog, a_cause()) is None
        assert unverified_webhooks.apply_unverified(session, lease, snapshot, old.catalog, a_cause()) is None
        assert subscriptions.not_at_provider(session, lease, old.catalog, a_cause(), term=DAY) is False
    assert facts(acme) == before


def set_policy(acme: Acme) -> None:
    acme.sets_policy(seat_types={"full": "soft", "viewer": "soft"})


def link(acme: Acme) -> None:
    with acme.runtime.transaction() as session:
        links.link(session, "acme", "sub_9", acme.runtime.catalog, a_cause())


@pytest.mark.parametrize("call", [set_policy, link])
def test_what_the_app_says_to_the_older_one_is_kept_and_evaluated_by_the_newer(
    acme: Acme, old: Runtime, call: Callable[[Acme], None]
):
    newer, deadline = acme.runtime, acme.deadline()
    acme.runtime = old
    call(acme)
    assert acme.deadline() == deadline
    acme.runtime = newer
    swept(newer)
    assert (acme.account.catalog_digest, acme.account.evaluate_at != acme.clock.now) == (
        newer.catalog.digest,
        True,
    )
    acme.check()


SEATED_BY_AN_OLDER_ONE: dict[str, Callable[[Acme], None]] = {
    "a claim": lambda acme: acme.seats("late"),
    "a claim in a batch": lambda acme: acme.claims_all([{"member_id": "late", "role": "member"}]),
    "another role": lambda acme: acme.member("late", role="member"),
}


@pytest.mark.parametrize("seat", SEATED_BY_AN_OLDER_ONE.values(), ids=SEATED_BY_AN_OLDER_ONE)
def test_whoever_the_older_one_seats_comes_to_sit_where_the_newer_one_has_the_role(
    acme: Acme, seat: Callable[[Acme], None]
):
    acme.seats("late", role="client") if seat is SEATED_BY_AN_OLDER_ONE["another role"] else None
    old = acme.runtime
    acme.edits_catalogue('member = "full"', 'member = "free"')
    newer, acme.runtime = acme.runtime, old
    seat(acme)
    acme.runtime = newer
    acme.is_swept()
    assert acme.account.seats["full"]["active"] == 0
    acme.check()


def test_an_account_that_the_older_one_opens_is_evaluated_by_the_newer(acme: Acme, old: Runtime):
    with old.transaction() as session:
        accounts.open_account(session, "newcomer", old.catalog, a_cause())
    swept(acme.runtime)
    with acme.runtime.sessions() as session:
        assert session.get_one(Account, "newcomer").catalog_digest == acme.runtime.catalog.digest


def test_the_older_one_buys_no_seats(acme: Acme, old: Runtime):
    assert expand(old, "acme") is False


def test_no_deadline_moves_when_a_catalogue_comes_and_goes(acme: Acme):
    before = acme.runtime
    acme.edits_catalogue(*CHANGES["another period"])
    with before.sessions.begin() as session:
        assert generation.activate(session, before.catalog)
    swept(before)
    assert acme.deadline() == NOON + 14 * DAY


# What brings a generation into force.


def states(*runtimes: Runtime) -> list[bool]:
    with runtimes[0].sessions() as session:
        return [generation.state_of(session, one.catalog).was_replaced for one in runtimes]


def test_a_catalogue_never_seen_before_comes_into_force_by_its_first_evaluation(acme: Acme, old: Runtime):
    assert states(old, acme.runtime) == [True, False]


def test_a_catalogue_that_was_replaced_is_in_force_again_once_it_is_put_there(acme: Acme, old: Runtime):
    with old.sessions.begin() as session:
        assert generation.activate(session, old.catalog) is True
        assert generation.activate(session, old.catalog) is False
    assert states(old, acme.runtime) == [False, True]
    swept(old)
    assert acme.account.catalog_digest == old.catalog.digest


def test_a_catalogue_that_nobody_evaluates_by_replaces_nobody(acme: Acme):
    newer = replace(acme.runtime.catalog, release="newer")
    with acme.runtime.sessions.begin() as session:
        assert generation.activate(session, newer) is False
    assert states(acme.runtime) == [False]


def test_an_evaluation_that_is_rolled_back_replaces_nobody(acme: Acme):
    with acme.runtime.sessions() as session:
        accounts.reevaluate(session, "acme", replace(acme.runtime.catalog, release="newer"), a_cause())
        session.rollback()
    assert states(acme.runtime) == [False]
