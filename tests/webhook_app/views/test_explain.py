"""Every number explains itself: the sum behind it, where each summand is from, what moved it, who counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from domain.snapshot import AddonQuantity
from models.api_key import Scope
from models.assignment import AssignmentState
from runtime.wiring import Runtime
from tests.acme import DAY, Acme
from tests.clock import Clock
from tests.factories import NOON, a_catalog
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, key_with, opened, run_sql

EXPLAIN, SEATS = "/v1/accounts/acme/explain", "/v1/accounts/acme/seats"
CATALOG = """
[free]
included = { full = 1 }

[contracts.big]
account = "acme"
seats = { full = 50, viewer = "unlimited" }
starts = 2026-12-01
ends = 2026-12-31
"""


@pytest.fixture
def acme(clocked_runtime: Runtime, clock: Clock) -> Acme:
    return Acme(clocked_runtime, clock, CATALOG)


@pytest.fixture
def client(open_door: OpenDoor, acme: Acme) -> FlaskClient:
    return open_door(acme.runtime)


def explained(client: FlaskClient, **query: str) -> dict[str, Any]:
    return client.get(EXPLAIN, query_string=query).json


def formula(client: FlaskClient, seat_type: str = "full") -> str:
    return explained(client)["seats"][seat_type]["formula"]


def sources(client: FlaskClient) -> dict[str, tuple[bool, str]]:
    return {one["name"]: (one["gives"], one["because"]) for one in explained(client)["sources"]}


def has(**addons: int) -> dict[str, Any]:
    """A Team subscription's cart."""
    return {"addons": tuple(AddonQuantity(addon_id, units) for addon_id, units in addons.items())}


# The sum.


def test_a_figure_is_shown_as_its_sum(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=10))
    assert formula(client) == "5 included in Team (pdt_team) + 10 x 1 seat of adn_seat = 15"


def test_packs_and_other_seat_types_have_sums_of_their_own(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=2, adn_pack=3, adn_viewer=4, adn_support=7))
    assert formula(client) == (
        "5 included in Team (pdt_team) + 2 x 1 seat of adn_seat + 3 x 10 seats of adn_pack = 37"
    )
    assert formula(client, "viewer") == "4 x 1 seat of adn_viewer = 4"


def test_seats_by_the_unit_are_shown_as_units(client: FlaskClient, acme: Acme):
    acme.buys("soft", 7)
    assert formula(client) == "7 x 1 seat per unit of pdt_of_soft (pdt_of_soft) = 7"


def test_each_summand_names_its_place_in_the_catalogue_and_what_gives_it(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=10))
    terms = explained(client)["seats"]["full"]["terms"]
    assert [(term["seats"], term["catalog"], term["source"]) for term in terms] == [
        (5, "[products.pdt_team] included", "sub_1"),
        (10, "[products.pdt_team] addons.adn_seat", "sub_1"),
    ]


def test_unlimited_seats_are_a_word_in_the_sum(client: FlaskClient, acme: Acme):
    acme.changes(product_id="pdt_unlimited")
    assert formula(client) == "unlimited included in Enterprise (pdt_unlimited) = unlimited"


def test_use_is_a_sum_too(client: FlaskClient, acme: Acme):
    acme.buys("soft", 2)
    acme.seats("a")
    acme.seats("b", hold=True)
    use = "1 active + 1 held = 2 used; 2 purchased - 2 used = 0 available"
    assert explained(client)["seats"]["full"]["use"] == use
    acme.seats("c")
    over = "2 active + 1 held = 3 used; 3 used - 2 purchased = 1 over"
    assert explained(client)["seats"]["full"]["use"] == over


# Against the seats document.


def second(acme: Acme) -> None:
    bought(acme.runtime, subscription_id="sub_2", product_id="pdt_of_soft", quantity=4)


LATER = {
    "a past due payment": lambda acme: acme.changes(status="past_due", past_due_ends_at=NOON + 3 * DAY),
    "on hold": lambda acme: acme.changes(status="on_hold"),
    "paused": lambda acme: acme.changes(status="paused"),
    "paused beside one that counts": lambda acme: (second(acme), acme.changes(status="paused")),
    "ended, free seats take over": lambda acme: acme.changes(status="cancelled"),
    "ended beside one that counts": lambda acme: (second(acme), acme.changes(status="expired")),
    "not begun": lambda acme: acme.changes(status="pending"),
    "two that count": second,
    "a contract in term": lambda acme: acme.after(10 * DAY),
    "a contract alone": lambda acme: (acme.changes(status="cancelled"), acme.after(10 * DAY)),
    "a contract that is over": lambda acme: acme.after(60 * DAY),
    "unlimited": lambda acme: acme.changes(product_id="pdt_unlimited"),
    "unlimited and suspended": lambda acme: acme.changes(product_id="pdt_unlimited", status="paused"),
    "an unknown product": lambda acme: acme.changes(product_id="pdt_unheard_of"),
    "an unknown add-on": lambda acme: acme.changes(**has(adn_unheard_of=3)),
    "an unknown status": lambda acme: acme.changes(status="frozen"),
    "missing add-ons": lambda acme: acme.changes(addons=None),
    "only a webhook says so": lambda acme: acme.gets_webhook_during_outage(**has(adn_seat=40)),
    "another catalogue": lambda acme: acme.gets_equivalent_catalogue(),
    "soft and over": lambda acme: (acme.buys("soft", 1), acme.seats("x", "y", "z")),
}


@pytest.mark.parametrize("happens", LATER.values(), ids=LATER)
def test_the_sums_come_to_what_the_seats_document_shows(
    client: FlaskClient, acme: Acme, happens: Callable[[Acme], object]
):
    acme.changes(**has(adn_seat=2, adn_pack=1, adn_viewer=3))
    acme.seats("a", "b")
    acme.seats("v", role="viewer", hold=True)
    happens(acme)
    told, shown = explained(client), client.get(SEATS).json
    assert told["is_current"]
    for seat_type, figures in shown["seats"].items():
        of_type = told["seats"][seat_type]
        assert {name: of_type[name] for name in figures} == figures
        assert of_type["formula"].rpartition(" = ")[2] == str(figures["purchased"])
        counted = [one for one in told["counted"]["members"] if one["seat_type"] == seat_type]
        assert len(counted) == figures["used"]
    assert told["seats"].keys() == shown["seats"].keys()
    assert (told["status"], told["version"]) == (shown["status"], shown["version"])


def test_before_a_changed_catalogue_is_carried_out_the_sums_are_ahead(open_door: OpenDoor, acme: Acme):
    acme.changes(**has(adn_seat=1))
    catalog = a_catalog("[contracts.new]\naccount = 'acme'\nseats = { full = 9 }\n")
    told = explained(open_door(replace(acme.runtime, catalog=catalog)))
    assert (told["is_current"], told["seats"]["full"]["purchased"]) == (False, 6)
    assert told["seats"]["full"]["formula"].endswith("+ 9 by contract new = 15")


# What gives, and why.


@pytest.mark.parametrize(
    ("shown", "gives", "because"),
    [
        ({"status": "active"}, True, "status active: its seats count"),
        (
            {"status": "past_due", "past_due_ends_at": NOON + DAY},
            True,
            "status past_due: its seats count until 2026-11-23T12:00:00Z, the provider's deadline",
        ),
        (
            {"status": "on_hold"},
            True,
            "status on_hold: its seats count until 2026-11-29T12:00:00Z, the end of payment_grace_days",
        ),
        (
            {"status": "paused"},
            True,
            "status paused: suspended, its figures stay, new claims are refused",
        ),
        ({"status": "pending"}, False, "status pending: it has not begun and gives no seats yet"),
        ({"status": "expired"}, False, "status expired: it is over and gives no seats"),
        ({"product_id": "pdt_unheard_of"}, False, "its seats have never been counted, and it gives none"),
    ],
)
def test_the_effect_of_a_status_is_explained(
    client: FlaskClient, acme: Acme, shown: dict[str, Any], gives: bool, because: str
):
    acme.changes(**shown)
    assert sources(client)["sub_1"] == (gives, because)


def test_the_rule_behind_a_status_is_named(client: FlaskClient, acme: Acme):
    acme.changes(status="past_due")
    assert explained(client)["sources"][0]["rule"] == "[status] past_due = counts_until_deadline"


def test_the_reason_for_last_good_figures_is_explained(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=1))
    acme.changes(**has(adn_seat=1, adn_new=2))
    assert formula(client) == "6 as last counted = 6"
    assert "adn_new" in explained(client)["sources"][0]["kept"]


def test_figures_that_a_changed_catalogue_has_not_reached_yet_stand_as_counted(
    open_door: OpenDoor, acme: Acme
):
    acme.changes(**has(adn_seat=1))
    grown = replace(acme.runtime.catalog.products["pdt_team"], included={"full": 7})
    products = {**acme.runtime.catalog.products, "pdt_team": grown}
    catalog = replace(acme.runtime.catalog, products=products)
    told = explained(open_door(replace(acme.runtime, catalog=catalog)))
    assert told["seats"]["full"]["formula"] == "6 as last counted = 6"
    assert told["sources"][0]["kept"].startswith("the catalogue has changed,")


def test_contracts_and_free_seats_say_why_they_give_or_not(client: FlaskClient, acme: Acme):
    acme.exists()
    term = "its term is from 2026-12-01 to 2026-12-31"
    assert sources(client) == {
        "big": (False, f"not in force yet: {term}"),
        "free": (True, "no subscription and no contract counts"),
    }
    acme.after(10 * DAY)
    assert sources(client) == {"big": (True, f"in force: {term}"), "free": (False, "other seats count")}
    assert formula(client) == "50 by contract big = 50"
    acme.after(60 * DAY)
    assert sources(client)["big"] == (False, f"over: {term}")


def test_the_sync_and_the_webhook_behind_the_figures_are_named(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=1))
    acme.clock.advance(DAY)
    acme.gets_webhook_during_outage(**has(adn_seat=5))
    acme.clock.advance(DAY)
    said = explained(client)["sources"][0]["subscription"]
    assert said["last_change"]["event_id"] == "msg_1"
    assert said["last_change"]["source"] == "body"
    assert (said["verified"], said["verified_at"]) == (False, "2026-11-22T12:00:00Z")
    acme.changes(**has(adn_seat=4))
    said = explained(client)["sources"][0]["subscription"]
    assert (said["verified"], said["verified_at"]) == (True, "2026-11-24T12:05:00Z")
    assert (said["last_change"]["source"], said["addons"]) == (
        "sync",
        [{"addon_id": "adn_seat", "quantity": 4}],
    )
    assert said["last_change"]["fence"] == 3


# What moved.


def test_each_change_of_a_figure_has_its_actor_and_reason(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=1))
    acme.seats("a")
    moves = explained(client)["moves"]
    assert moves["total"] == 2
    looked, seated = moves["rows"]
    assert looked["seats"]["full"] == {"purchased": [0, 6], "used": [0, 0]}
    assert (looked["subscription_id"], looked["source"], looked["status"]) == ("sub_1", "sync", [None, "ok"])
    assert seated["seats"] == {"full": {"purchased": [6, 6], "used": [0, 1]}}
    assert (seated["member_id"], seated["actor"], seated["reason"]) == ("a", "key:test", "a test")


def test_only_what_moved_since_then_is_told_beside_what_stood_before(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=1))
    acme.clock.advance(2 * DAY)
    acme.seats("a")
    told = explained(client, since="2026-11-24T12:00:00Z")
    assert [row["member_id"] for row in told["moves"]["rows"]] == ["a"]
    assert told["seats"]["full"]["before"] == {"purchased": 6, "used": 0}
    assert explained(client)["seats"]["full"]["before"] is None


def test_by_default_it_covers_thirty_days(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=1))
    acme.clock.advance(30 * DAY + timedelta(seconds=1))
    told = explained(client)["moves"]
    assert (told["total"], told["since"]) == (0, "2026-11-22T12:00:01Z")


def test_what_moves_nothing_is_left_out(client: FlaskClient, acme: Acme):
    acme.changes(**has(adn_seat=1))
    acme.seats("client", role="client")
    acme.sets_policy(hold_days=3)
    assert explained(client)["moves"]["total"] == 1


# Who counts.


def who(client: FlaskClient, which: str) -> list[tuple[str, str, str]]:
    people = explained(client)[which]["members"]
    return [(one["member_id"], one["state"], one["reason"]) for one in people]


def test_counted_and_uncounted_members_are_listed_with_reasons(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    acme.seats("a", "b", "gone")
    acme.seats("client", role="client")
    acme.member("b", state=AssignmentState.SUSPENDED)
    acme.releases("gone")
    acme.seats("invited", hold=True)
    assert who(client, "counted") == [
        ("a", "active", "holds a full seat"),
        ("invited", "held", "a full seat is held until the invitation is accepted or expires"),
    ]
    assert who(client, "not_counted") == [
        ("b", "suspended", "suspended: takes no seat until reactivated"),
        ("client", "active", "the role client is free"),
        ("gone", "released", "the seat was released"),
    ]


def test_since_when_and_by_whom_is_told_of_everybody(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    acme.seats("a", "b")
    acme.clock.advance(DAY)
    acme.member("b", role="client")
    acme.seats("c", hold=True)
    acme.clock.advance(DAY)
    acme.member("a", role="admin")  # the same seat in another role
    acme.after(7 * DAY)
    told = explained(client)
    since = {one["member_id"]: one["since"][:10] for one in told["counted"]["members"]}
    assert since == {"a": "2026-11-22"}
    away = {
        one["member_id"]: (one["since"][:10], one["by"]["source"]) for one in told["not_counted"]["members"]
    }
    assert away == {"b": ("2026-11-23", "test"), "c": ("2026-12-01", "lapse")}


def test_who_came_back_is_listed_once(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    for _ in range(2):
        acme.seats("a", "b")
        acme.releases("a", "b")
    acme.seats("a")
    assert [one[0] for one in who(client, "counted")] == ["a"]
    assert [one[0] for one in who(client, "not_counted")] == ["b"]


def test_who_took_up_an_invitation_after_having_left_is_not_listed_as_gone(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    acme.seats("invited", email="ada@example.com", hold=True)
    acme.seats("ada")
    acme.releases("ada")
    acme.seats("ada", email="ada@example.com")
    assert [one[0] for one in who(client, "counted")] == ["ada"]
    assert who(client, "not_counted") == []


def test_of_very_many_a_hundred_are_listed_beside_the_total(client: FlaskClient, acme: Acme):
    acme.buys("strict", 200)
    run_sql(
        acme.runtime,
        "INSERT INTO assignments (account_id, member_id, role, seat_type, state) "
        "SELECT 'acme', 'member-' || n, 'member', 'full', 'active' FROM generate_series(1, 120) AS n",
    )
    counted = explained(client)["counted"]
    assert (counted["total"], len(counted["members"])) == (120, 100)


def test_members_are_named_by_id_only(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    acme.seats("a", email="a@example.com", name="Ada Lovelace")
    text = client.get(EXPLAIN).text
    assert ("example.com" in text, "Lovelace" in text) == (False, False)


# The question.


def test_an_account_without_anything_is_explained_too(client: FlaskClient, acme: Acme):
    opened(acme.runtime, "acme")
    told = explained(client)
    assert (told["seats"]["full"]["formula"], told["counted"]["total"]) == ("1 free = 1", 0)


@pytest.mark.parametrize("query", ["since=yesterday", "since=20261122", "from=2026-11-22T12:00:00Z"])
def test_a_bad_question_is_422_and_says_where(client: FlaskClient, query: str):
    answer = client.get(f"{EXPLAIN}?{query}")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, query.partition("=")[0])


def test_an_unknown_account_is_404(client: FlaskClient):
    answer = client.get("/v1/accounts/nobody/explain")
    assert (answer.status_code, answer.json["code"]) == (404, "account_not_found")


def test_a_key_that_may_not_read_is_refused(open_door: OpenDoor, acme: Acme, client: FlaskClient):
    may_claim = open_door(acme.runtime, key=key_with(acme.runtime, Scope.CLAIM))
    assert may_claim.get(EXPLAIN).status_code == 403
