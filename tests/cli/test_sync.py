"""`seatsync sync`: asks the provider now, whatever became of the webhooks."""

from __future__ import annotations

import signal
from contextlib import closing
from datetime import UTC, datetime

import orjson
import pytest

from models import inbox
from services.sync.batch import AT_ONCE
from services.sync.subscription import sync
from tests.audit_replay import assert_audit_matches_the_tables
from tests.cli.conftest import RETRIEVES, Business, cart
from tests.factories import an_arrival
from tests.providers.stub import closed_port
from tests.waiting import PATIENCE_SECONDS, wait_until

ALL_WELL = "In sync."


def last(output: str) -> str:
    return output.splitlines()[-1]


@pytest.fixture
def sold(business: Business) -> str:
    """One subscription of acme, known with its five seats."""
    subscription_id = business.sells()
    business.run("sync", subscription_id, "--subscription")
    return subscription_id


# One customer.


def test_an_account_is_looked_at_now_and_shows_what_moved(business: Business, sold: str):
    business.changes(sold, addons=cart(4))
    done = business.run("sync", "acme")
    assert done.stdout.splitlines() == [
        "acme: full 5 -> 9",
        f"repaired {sold} addons: no add-ons -> 4 x adn_seat (lost_webhook)",
        ALL_WELL,
    ]
    assert (done.exit_code, business.purchased()) == (0, 9)


def test_what_several_subscriptions_moved_is_told_once(business: Business, sold: str):
    other = business.sells(seats=1)
    business.run("sync", "--all")
    for subscription_id in (sold, other):
        business.changes(subscription_id, addons=cart(4))
    assert business.run("sync", "acme").stdout.splitlines()[0] == "acme: full 11 -> 18"


def test_where_nothing_moved_it_says_so(business: Business, sold: str):
    done = business.run("sync", "acme")
    assert (done.exit_code, done.stdout) == (0, f"No account's seats changed.\n{ALL_WELL}\n")


def test_a_known_subscription_is_looked_at_by_its_id(business: Business, sold: str):
    business.changes(sold, status="paused")
    done = business.run("sync", sold)
    assert "acme: status ok -> suspended" in done.stdout
    assert done.exit_code == 0


def test_a_name_that_nobody_knows_is_not_asked_for(business: Business, sold: str):
    done = business.run("sync", "acne")
    assert done.exit_code == 2
    assert "There is no account and no subscription 'acne'." in done.stderr
    assert business.value("SELECT count(*) FROM subscriptions") == 1


def test_a_subscription_unknown_here_is_asked_for_on_request(business: Business):
    subscription_id = business.sells(seats=2)
    done = business.run("sync", subscription_id, "--subscription")
    assert done.stdout.splitlines()[0] == "acme: full 0 -> 7"
    assert done.exit_code == 0


def test_what_the_provider_does_not_know_is_held(business: Business):
    done = business.run("sync", "sub_lost", "--subscription")
    assert "held     sub_lost subscription_id" in done.stdout
    assert done.exit_code == 1


def test_what_cannot_be_looked_at_in_time_still_waits(business: Business, sold: str):
    business.fails(RETRIEVES)
    done = business.run("sync", "acme", "--wait", "1")
    assert f"still to sync: {sold}: Dodo Payments answered 500" in done.stdout
    assert done.exit_code == 1


@pytest.mark.parametrize(
    "arguments", [[], ["acme", "--all"], ["acme", "--full"], ["--all", "--subscription"], ["a\nb"]]
)
def test_what_makes_no_sense_is_refused(business: Business, arguments: list[str]):
    assert business.run("sync", *arguments).exit_code == 2


def test_a_late_old_delivery_undoes_nothing(business: Business, sold: str):
    old = business.control.call("GET", f"/subscriptions/{sold}")
    business.changes(sold, addons=cart(4))
    business.run("sync", "acme")
    body = orjson.dumps({"type": "subscription.updated", "timestamp": datetime.now(UTC), "data": old})
    with business.sessions.begin() as session:
        inbox.store(session, an_arrival("msg_old", subscription_id=sold, body=body))
    with closing(business.runtime()) as runtime:
        sync(runtime, sold)
    assert business.purchased() == 9


# All of them.


def test_with_every_webhook_lost_all_is_right_in_the_end(business: Business):
    business.sells("known")
    changed, ended = (business.sells(name) for name in ("changed", "ended"))
    assert business.run("sync", "--all").exit_code == 0
    business.sells_many(10)
    business.changes(changed, addons=cart(3), recurring_pre_tax_amount=14_400)
    business.changes(ended, status="cancelled")
    done = business.run("sync", "--all")
    assert (done.exit_code, last(done.stdout)) == (0, ALL_WELL)
    assert "changed: full 5 -> 8" in done.stdout
    assert "ended: full 5 -> 0; status ok -> ended" in done.stdout
    assert f"repaired {ended} status: active -> cancelled (lost_webhook)" in done.stdout
    assert [business.purchased(name) for name in ("known", "changed", "team-0", "team-9")] == [5, 8, 5, 5]
    assert business.value("SELECT count(*) FROM accounts") == 13


def test_only_what_differs_is_retrieved(business: Business):
    business.sells_many(5)
    business.run("sync", "--all")
    before = business.retrieves()
    business.run("sync", "--all")
    assert business.retrieves() == before


def test_what_no_list_shows_is_found_by_a_full_one(business: Business, sold: str):
    business.changes(sold, addons=cart(4))
    assert business.run("sync", "--all").exit_code == 0
    assert business.purchased() == 5
    done = business.run("sync", "--all", "--full")
    assert "acme: full 5 -> 9" in done.stdout
    assert done.exit_code == 0


def test_it_says_how_far_it_is(business: Business):
    business.sells_many(20)
    read, *_, looked_at = business.run("sync", "--all").stderr.splitlines()
    assert (read, looked_at) == ("reading the list: 100 % of 20", "syncing subscriptions: 100 % of 20")


def test_on_a_terminal_there_are_bars(business: Business, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    business.sells_many(3)
    assert "━" in business.run("sync", "--all").stderr


def test_a_spent_budget_is_waited_out(business: Business):
    business.sells_many(13)
    done = business.run("sync", "--all", SEATSYNC_PROVIDER_RATE="20/10second")
    assert "waiting: The request budget is spent" in done.stderr
    assert (done.exit_code, business.purchased("team-12")) == (0, 5)


def test_what_fails_still_waits_and_is_done_by_the_next(business: Business):
    business.sells_many(3)
    business.fails(RETRIEVES)
    done = business.run("sync", "--all", "--wait", "0")
    assert done.exit_code == 1
    assert "3 subscriptions are still to sync" in done.stderr
    assert "will be retried: sub_" in done.stdout
    business.fails()
    assert business.run("sync", "--all").exit_code == 0
    assert business.purchased("team-2") == 5


def test_one_that_always_fails_stops_no_other(business: Business):
    ids = business.sells_many(3)
    business.run("sync", "--all")
    business.changes(ids[0], status="")
    for subscription_id in ids[1:]:
        business.changes(subscription_id, addons=cart(1))
    done = business.run("sync", "--all", "--full", "--wait", "1")
    assert f"will be retried: {ids[0]}: Dodo Payments sent a subscription without" in done.stdout
    assert (done.exit_code, business.purchased("team-1"), business.purchased("team-2")) == (1, 6, 6)


def test_what_was_given_up_on_is_looked_at_again(business: Business, sold: str):
    business.change("UPDATE subscriptions SET hint = hint + 1, dead_reason = 'gave up'")
    assert business.run("sync", "--all").exit_code == 0
    assert business.value("SELECT dead_reason FROM subscriptions") is None


def test_what_is_held_is_told_with_the_reason(business: Business):
    business.sells(product_id="pdt_per_user")
    for _ in range(2):
        done = business.run("sync", "--all")
        assert done.exit_code == 1
        assert "The catalogue does not know product 'pdt_per_user'" in done.stdout
        assert last(done.stdout) == "Not in sync, see above."


def test_a_provider_that_is_away_is_the_answer(business: Business):
    away = f"http://127.0.0.1:{closed_port()}"
    done = business.run("sync", "--all", DODO_PAYMENTS_BASE_URL=away)
    assert done.exit_code == 2
    assert "could not be reached" in done.stderr
    assert business.rows() == 0


def test_a_key_that_is_refused_is_the_answer(business: Business):
    done = business.run("sync", "--all", DODO_PAYMENTS_API_KEY="another-key")
    assert done.exit_code == 2
    assert "DODO_PAYMENTS_API_KEY" in done.stderr


def test_a_database_that_is_away_is_the_answer(business: Business):
    url = f"postgresql://someone:hidden-word@127.0.0.1:{closed_port()}/none"
    done = business.run("sync", "--all", DATABASE_URL=url)
    assert done.exit_code == 2
    assert "The database is unreachable" in done.stderr
    assert "hidden-word" not in done.output


def test_interrupted_it_leaves_the_rest_to_the_workers(business: Business):
    business.sells_many(60)
    business.control.turn(api_latency_seconds=0.1)  # six seconds in all, of which one look is waited for
    process = business.start("sync", "--all")
    wait_until(lambda: business.value("SELECT count(*) FROM accounts"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, err
    assert "Interrupted." in err
    assert "Workers continue in the background" in err
    assert 0 < business.value("SELECT count(*) FROM subscriptions WHERE hint > synced") < 60
    business.control.turn(api_latency_seconds=0)
    business.change("UPDATE subscriptions SET lease_until = NULL")
    assert business.run("sync", "--all").exit_code == 0
    assert business.retrieves() <= 60 + AT_ONCE  # those under way when it was interrupted


def test_two_at_once_do_no_harm(business: Business):
    business.sells_many(30)
    both = [business.start("sync", "--all") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, out + err
    assert business.value("SELECT count(*) FROM audit") == 30
    with business.sessions() as session:
        assert_audit_matches_the_tables(session)
