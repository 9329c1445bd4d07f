import copy
import pickle
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given

from domain.catalog.model import Billing, Catalog, Contract, Product, Rules
from domain.catalog.reader import parse
from domain.errors import UnknownRole
from domain.seat_limit import UNLIMITED
from domain.statuses import DEFAULT_EFFECTS, StatusEffect
from tests.domain.catalogs import CATALOGS, to_toml
from tests.domain.few_examples import few_examples

SOFT = Rules("soft", timedelta(days=1), timedelta(days=2), timedelta(days=3))
TEAM = Product(
    product_id="pdt_team", name="Team", included={"full": 5}, addons={"adn": {"viewer": 1}}, rules=SOFT
)
CATALOG = Catalog(
    products={"pdt_team": TEAM},
    roles={"member": "full", "client": None, "*": "viewer"},
    free={"guest": 1},
    contracts={"c": Contract(name="c", account_id="acme", seats={"full": UNLIMITED, "admin": 2})},
)


@pytest.mark.parametrize(
    ("role", "seat_type"), [("member", "full"), ("client", None), ("anything", "viewer")]
)
def test_a_role_takes_its_own_seat_type_or_that_of_the_star_role(role, seat_type):
    assert CATALOG.seat_type(role) == seat_type


def test_the_star_role_may_be_free():
    assert Catalog(roles={"*": None}).seat_type("anything") is None


@pytest.mark.parametrize(
    ("roles", "known"), [({"member": "full", "client": None}, "client, member"), ({}, "none")]
)
def test_an_unknown_role_is_an_error_that_lists_the_known(roles, known):
    with pytest.raises(UnknownRole, match=f"no role 'boss'. Known roles: {known}\\.") as caught:
        Catalog(roles=roles).seat_type("boss")
    assert caught.value.details == {"role": "boss", "known_roles": sorted(roles)}


def test_a_product_has_its_own_rules():
    rules = CATALOG.rules("pdt_team")
    assert rules.policy == "soft"
    assert (rules.grace, CATALOG.payment_grace("pdt_team"), rules.hold) == (
        timedelta(days=1),
        timedelta(days=2),
        timedelta(days=3),
    )


@pytest.mark.parametrize("product_id", [None, "pdt_unknown"])
def test_without_a_known_product_the_defaults_apply(product_id):
    assert CATALOG.rules(product_id) == Rules()


def test_an_unknown_product_is_none():
    assert CATALOG.product("pdt_unknown") is None


def test_seat_types_are_all_that_is_sold_or_given_in_order():
    assert CATALOG.seat_types == ("full", "viewer", "guest", "admin")


@pytest.mark.parametrize(
    ("status", "effect"), [*DEFAULT_EFFECTS.items(), ("frozen", None), ("Active", None), ("", None)]
)
def test_a_status_has_an_effect_or_is_unknown(status, effect):
    assert CATALOG.effect(status) is effect


def test_contracts_are_found_by_account():
    assert [contract.name for contract in CATALOG.contracts_of("acme")] == ["c"]
    assert CATALOG.contracts_of("other") == ()


YEAR = Contract(name="c", account_id="a", seats={}, starts=date(2026, 1, 1), ends=date(2026, 12, 31))


@pytest.mark.parametrize(
    ("now", "has_begun", "is_over"),
    [
        (datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), False, False),
        (datetime(2026, 1, 1, tzinfo=UTC), True, False),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), True, False),
        (datetime(2027, 1, 1, tzinfo=UTC), True, True),
    ],
)
def test_a_contract_runs_from_its_first_day_to_the_end_of_its_last(now, has_begun, is_over):
    assert (YEAR.has_begun(now), YEAR.is_over(now)) == (has_begun, is_over)
    assert YEAR.is_in_term(now) == (has_begun and not is_over)


@pytest.mark.parametrize("ends", [None, date.max])
def test_a_contract_without_dates_is_always_in_term(ends):
    contract = replace(YEAR, starts=None, ends=ends)
    assert contract.is_in_term(datetime.min.replace(tzinfo=UTC))
    assert contract.is_in_term(datetime.max.replace(tzinfo=UTC))


CHANGES = [
    {"defaults": SOFT},
    {"account_key": None},
    {"roles": {**CATALOG.roles, "client": "full"}},
    {"free": None},
    {"free": {}},
    {"free": {"guest": UNLIMITED}},
    {"effects": {**DEFAULT_EFFECTS, "paused": StatusEffect.COUNTS}},
    {"contracts": {}},
    {"contracts": {"c": replace(CATALOG.contracts["c"], ends=date(2026, 1, 1))}},
    {"contracts": {"c": replace(CATALOG.contracts["c"], billing=Billing.ONCE)}},
    *(
        {"products": {"pdt_team": replace(TEAM, **change)}}
        for change in (
            {"name": "Squad"},
            {"included": {"full": 6}},
            {"per_unit": {"full": 1}},
            {"addons": {"adn": {}}},
            {"minimum": {"full": 1}},
            {"maximum": {"full": 1}},
            {"rules": Rules()},
        )
    ),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_meaning_changes_the_digest(change):
    assert replace(CATALOG, **change).digest != CATALOG.digest


def test_a_digest_is_the_same_in_every_process():
    assert Catalog().digest == "563fa1badaa770578ba750b2e9099837e0dfd13fe25bfca11e9eb61c7e7fa15c"


@few_examples
@given(CATALOGS)
def test_a_catalogue_written_as_toml_and_read_again_is_the_same(catalog):
    read = parse(to_toml(catalog), "catalog.toml")
    assert read == catalog
    assert read.digest == catalog.digest


@few_examples
@given(CATALOGS)
def test_order_and_comments_have_no_meaning(catalog):
    turned = replace(
        catalog,
        products=dict(reversed(catalog.products.items())),
        roles=dict(reversed(catalog.roles.items())),
        contracts=dict(reversed(catalog.contracts.items())),
    )
    text = to_toml(turned).replace("\n", "  # a remark\n\n")
    assert parse(text, "catalog.toml").digest == catalog.digest


@few_examples
@given(CATALOGS, CATALOGS)
def test_digests_are_equal_when_catalogues_are(one, other):
    assert (one.digest == other.digest) == (one == other)


@few_examples
@given(CATALOGS)
def test_a_catalogue_can_be_copied_and_pickled(catalog):
    assert pickle.loads(pickle.dumps(catalog)) == copy.deepcopy(catalog) == catalog
