"""`seatsync backfill`: a business that was there before us is known whole, however often we are killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.backfill.dry_run import DryRun
from cli.backfill.missing_products import missing_products
from cli.backfill.staging import Staging
from cli.backfill.summary import SeatTotals, Summary
from cli.progress import progress_output
from domain.catalog.model import Catalog
from domain.catalog.reader import parse
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.provider_errors import SubscriptionNotAtProvider, TransientError
from providers.dodo.provider import Dodo
from runtime.wiring import Runtime
from services.ledger import links
from services.sync.batch import AT_ONCE
from tests.audit_replay import assert_audit_matches_the_tables
from tests.cli.conftest import RETRIEVES, Business, cart
from tests.factories import CATALOG_TEXT, a_catalog, a_cause
from tests.fakes import FakeProvider
from tests.providers.stub import closed_port
from tests.services.sync.test_reconcile import many
from tests.waiting import wait_until

NEW_PRODUCT = {"product_id": "pdt_new", "name": "Team Max", "price": 19900, "addons": ["adn_seat"]}


@pytest.fixture
def old_business(business: Business) -> Business:
    """Customers of all kinds, two of whom have what the catalogue does not know."""
    business.sells_many(15)
    business.sells("acme", seats=4)
    business.sells("acme", addons=[{"addon_id": "adn_viewer", "quantity": 3}])
    business.sells("gone", status="cancelled")
    business.sells("unlimited", product_id="pdt_unlimited")
    business.control.call("POST", "/products", **NEW_PRODUCT)
    business.sells("max", product_id="pdt_new", addons=cart(2))
    business.sells("packed", addons=[{"addon_id": "adn_pack_10", "quantity": 1}])
    return business


FIGURES = """\
subscriptions: 21 (20 active, 1 cancelled)
accounts: 20, 20 of them new
seats: full 89, viewer 3, full without limit in 1 account
held:
  1 x The catalogue does not know add-on 'adn_pack_10' of product 'pdt_team', so the last good count stays: \
give addons.adn_pack_10 a size under [products.pdt_team], or {} if it is not a seat.
  1 x The catalogue does not know product 'pdt_new', so the last good count stays: describe its seats \
under [products.pdt_new].
"""
UNKNOWN = """
[products.pdt_new]  # "Team Max", in EUR, 1 subscription
included = {}  # how many seats are included, for example { full = 5 }
addons.adn_seat = {}  # "Extra seat", in EUR, 1 subscription: {} gives no seat, { full = 1 } gives one

[products.pdt_team.addons.adn_pack_10]  # "Pack of ten seats", in EUR, 1 subscription
# full = 1  # how many seats one unit gives; without this line none
"""


# Bringing in.


def test_everything_is_counted_and_summed_up(old_business: Business):
    done = old_business.run("backfill")
    assert done.stdout.startswith(FIGURES)
    assert done.stdout.endswith(UNKNOWN)
    assert done.exit_code == 1
    assert (old_business.purchased(), old_business.purchased("acme", "viewer")) == (14, 3)


def test_pasted_into_the_catalogue_the_next_run_counts_it(old_business: Business, catalog_file: Path):
    shown = old_business.run("backfill").stdout
    told = shown[shown.index("\n[products") :].replace("included = {}", "included = { full = 9 }")
    catalog_file.write_text(CATALOG_TEXT + told.replace("# full = 1 ", "full = 10"), encoding="utf-8")
    done = old_business.run("backfill")
    assert "held: nothing" in done.stdout
    assert done.exit_code == 0
    assert (old_business.purchased("max"), old_business.purchased("packed")) == (9, 15)


def test_where_all_is_known_there_is_nothing_to_do(business: Business):
    business.sells_many(3)
    done = business.run("backfill")
    assert done.stdout.splitlines() == [
        "subscriptions: 3 (3 active)",
        "accounts: 3, 3 of them new",
        "seats: full 15, viewer 0",
        "held: nothing",
    ]
    assert done.exit_code == 0


def test_nothing_of_a_first_backfill_is_drift(business: Business):
    business.sells_many(3)
    business.run("backfill")
    assert business.value("SELECT count(*) FROM drift_findings") == 0


def test_killed_and_started_again_it_goes_on(business: Business):
    business.sells_many(40)
    business.control.turn(api_latency_seconds=0.02)
    first = business.start("backfill")
    wait_until(lambda: (business.value("SELECT count(*) FROM accounts") or 0) >= 5)
    first.kill()
    first.communicate()
    seen = business.value("SELECT count(*) FROM accounts")
    assert seen < 40
    business.control.turn(api_latency_seconds=0)
    # What the killed one was at is taken up when its lease is over, ten seconds later.
    business.change("UPDATE subscriptions SET lease_until = now() WHERE lease_until IS NOT NULL")

    done = business.run("backfill")
    assert done.exit_code == 0, done.output
    assert "subscriptions: 40 (40 active)" in done.stdout
    assert business.retrieves() <= 40 + AT_ONCE  # those under way when it was killed
    assert business.value("SELECT count(*) FROM audit") == 40
    with business.sessions() as session:
        assert_audit_matches_the_tables(session)


def test_what_could_not_be_looked_at_still_waits(business: Business):
    business.sells_many(2)
    business.fails(RETRIEVES)
    done = business.run("backfill", "--wait", "0")
    assert done.exit_code == 1
    assert "2 subscriptions are still to sync" in done.stderr
    assert "subscriptions: 0" in done.stdout


# The dry run.


def test_a_dry_run_shows_the_same_and_writes_nothing(old_business: Business):
    done = old_business.run("backfill", "--dry-run", "--show", "2")
    assert done.stdout.splitlines()[:3] == [
        "acme: full 14, viewer 3; 2 subscriptions",
        "gone: full 0, viewer 0; 1 subscription",
        "... and 18 more accounts",
    ]
    assert FIGURES in done.stdout
    assert UNKNOWN in done.stdout
    assert "Nothing was written." in done.stdout
    assert (done.exit_code, old_business.rows()) == (1, 0)


def test_a_dry_run_puts_each_subscription_where_it_belongs(business: Business, catalog: Catalog):
    own = business.sells(None)
    linked = business.sells("named")
    with business.sessions.begin() as session:
        links.link(session, "chosen", linked, catalog, a_cause())
    done = business.run("backfill", "--dry-run")
    shown = {line.partition(":")[0] for line in done.stdout.splitlines() if "subscription" in line}
    assert shown == {"chosen", own, "subscriptions"}
    assert "accounts: 2, 1 of them new" in done.stdout
    assert done.exit_code == 0


def test_a_dry_run_waits_out_a_spent_budget(business: Business):
    business.sells_many(13)
    done = business.run("backfill", "--dry-run", SEATSYNC_PROVIDER_RATE="20/3second")
    assert "waiting: The request budget is spent for reconcile calls." in done.stderr
    assert (done.exit_code, "seats: full 65, viewer 0" in done.stdout) == (0, True)


def test_a_list_that_was_broken_off_goes_on_with_the_page_that_it_missed(
    runtime: Runtime, provider: FakeProvider
):
    provider.subscriptions, provider.page_size, provider.page_budget = many(4), 1, 2
    with Staging() as stage, progress_output() as show:
        DryRun(runtime, stage).read(show, patience=1)
        assert (stage.count(), provider.listed_pages) == (4, 4)


def test_a_dry_run_tells_what_is_listed_and_cannot_be_retrieved(
    business: Business, monkeypatch: pytest.MonkeyPatch
):
    def gone(*_, **__):
        raise SubscriptionNotAtProvider("Dodo Payments does not know this subscription.")

    business.sells_many(2)
    monkeypatch.setattr(Dodo, "retrieve", gone)
    done = business.run("backfill", "--dry-run")
    assert "  2 x Dodo Payments does not know this subscription." in done.stdout
    assert done.exit_code == 1


def test_a_dry_run_that_cannot_be_finished_says_so(business: Business):
    business.sells_many(2)
    business.fails(RETRIEVES)
    done = business.run("backfill", "--dry-run", "--wait", "0")
    assert done.exit_code == 2
    assert "nothing was written" in done.stderr


def test_a_provider_that_is_away_is_the_answer(business: Business):
    away = f"http://127.0.0.1:{closed_port()}"
    for arguments in (["backfill"], ["backfill", "--dry-run", "--wait", "0"]):
        done = business.run(*arguments, DODO_PAYMENTS_BASE_URL=away)
        assert (done.exit_code, business.rows()) == (2, 0)
        assert "could not be reached" in done.stderr


# What the catalogue has to learn.


class Shop:
    """Tells what it sells, or fails."""

    def __init__(self, name: str | None = None, failing: Exception | None = None) -> None:
        self.name = name
        self.failing = failing

    def product(self, product_id: str) -> ProductOnSale | None:
        if self.failing is not None:
            raise self.failing
        return ProductOnSale(product_id=product_id, name=self.name, currency="EUR")

    def addon(self, addon_id: str) -> AddonOnSale | None:
        if self.failing is not None:
            raise self.failing
        return AddonOnSale(addon_id=addon_id, name=self.name)


def unknown(shop: Shop, *, product_id: str, addon_id: str) -> str:
    found = Summary(
        statuses={},
        accounts=0,
        new_accounts=0,
        seats=SeatTotals(),
        held={},
        products={product_id: 1},
        addons={(product_id, addon_id): 1},
    )
    return missing_products(found, a_catalog(), shop)


@pytest.mark.parametrize("name", ["Plain", 'A "quoted"\n]name[', "\x1b[31m\x7f\u2028 # = {", "Équipe", None])
@pytest.mark.parametrize("odd_id", ["pdt_x", "a.b c", 'q"uo\\te', "#", "é"])
def test_whatever_it_is_called_it_can_be_pasted(odd_id: str, name: str | None):
    for product_id in (odd_id, "pdt_team"):
        told = unknown(Shop(name), product_id=product_id, addon_id=odd_id)
        pasted = parse(CATALOG_TEXT + told, "pasted")
        assert odd_id in pasted.products[product_id].addons


def test_names_that_cannot_be_asked_for_are_left_out():
    told = unknown(Shop(failing=TransientError("down")), product_id="pdt_x", addon_id="adn_y")
    assert told.startswith("[products.pdt_x]  # name unknown, 1 subscription\n")
