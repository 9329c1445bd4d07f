import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from domain import policies
from domain.billing_terms import Proration, When
from domain.catalog.model import Billing, Catalog, Contract, Product, Rules
from domain.catalog.reader import parse
from domain.seat_limit import UNLIMITED
from domain.statuses import DEFAULT_EFFECTS, StatusEffect

EXAMPLE = Path(__file__).parents[3] / "catalog.example.toml"

TEAM = "[products.pdt_team]\nincluded = { full = 5 }\n"
RULE_KEYS = (
    "policy",
    "grace_days",
    "suspend_after_grace",
    "payment_grace_days",
    "hold_days",
    "auto_expand_limit",
    "proration_increase",
    "proration_decrease",
    "decrease_when",
)


def test_everything_optional_has_a_default():
    assert parse(TEAM, "catalog.toml") == Catalog(
        defaults=Rules("strict", timedelta(days=14), timedelta(days=7), timedelta(days=7)),
        account_key="account_id",
        roles={},
        products={
            "pdt_team": Product(product_id="pdt_team", name="pdt_team", included={"full": 5}, rules=Rules())
        },
        free=None,
        contracts={},
        effects=DEFAULT_EFFECTS,
    )


def test_a_stated_default_means_the_same_as_one_left_out():
    stated = '[defaults]\npolicy = "strict"\nhold_days = 7\n[status]\nactive = "counts"\n' + TEAM
    assert parse(stated, "a").digest == parse(TEAM, "b").digest


def test_an_empty_account_key_means_that_metadata_names_no_account():
    assert parse('[defaults]\naccount_key = ""\n' + TEAM, "catalog.toml").account_key is None


def test_a_product_takes_the_defaults_it_does_not_override():
    text = '[defaults]\ngrace_days = 3\nhold_days = 4\n[products.x]\npolicy = "soft"\nhold_days = 9\n'
    catalog = parse(text, "catalog.toml")
    assert catalog.rules("x") == Rules("soft", timedelta(days=3), timedelta(days=7), timedelta(days=9))


def test_a_change_at_the_renewal_is_billed_in_the_one_mode_that_can_be_scheduled():
    rules = Rules(
        proration_increase=Proration.DO_NOT_BILL, proration_decrease=Proration.DIFFERENCE_IMMEDIATELY
    )
    assert rules.proration(When.NOW, is_increase=True) is Proration.DO_NOT_BILL
    assert rules.proration(When.NOW, is_increase=False) is Proration.DIFFERENCE_IMMEDIATELY
    assert rules.proration(When.AT_RENEWAL, is_increase=False) is Proration.FULL_IMMEDIATELY


@pytest.mark.parametrize(
    "section", ["[products.x]\nincluded", "[free]\nincluded", '[contracts.x]\naccount = "a"\nseats']
)
def test_seats_that_are_given_may_be_unlimited(section):
    assert parse(f'{section} = {{ full = "unlimited" }}', "catalog.toml").seat_types == ("full",)


def test_a_contract_may_leave_its_term_and_billing_open():
    catalog = parse('[contracts.c]\naccount = "acme"\nseats = { full = 9 }', "catalog.toml")
    assert catalog.contracts["c"] == Contract(name="c", account_id="acme", seats={"full": 9})


def test_a_contract_may_set_every_field():
    text = (
        '[contracts.c]\naccount = "acme"\nseats = { full = "unlimited" }\n'
        'starts = 2026-01-01\nends = 2026-01-01\nbilling = "quarterly"'
    )
    assert parse(text, "catalog.toml").contracts["c"] == Contract(
        name="c",
        account_id="acme",
        seats={"full": UNLIMITED},
        starts=date(2026, 1, 1),
        ends=date(2026, 1, 1),
        billing=Billing.QUARTERLY,
    )


def test_two_contracts_of_one_account_may_follow_each_other():
    text = (
        '[contracts.a]\naccount = "acme"\nseats = { full = 9 }\nends = 2026-12-31\n'
        '[contracts.b]\naccount = "acme"\nseats = { full = 9 }\nstarts = 2027-01-01\n'
    )
    assert len(parse(text, "catalog.toml").contracts_of("acme")) == 2


def test_a_status_unknown_today_can_be_given_an_effect():
    assert parse('[status]\nfrozen = "suspended"\n' + TEAM, "a").effect("frozen") is StatusEffect.SUSPENDED


def test_a_product_may_sell_no_seats_at_all():
    assert parse("[products.pdt_support]\naddons.adn_phone = {}", "a").product("pdt_support").seat_types == ()


def test_a_maximum_of_zero_needs_no_minimum():
    text = "[products.x]\naddons.adn.viewer = 1\nmaximum.viewer = 0"
    assert parse(text, "catalog.toml").products["x"].maximum == {"viewer": 0}


def test_product_ids_are_not_normalised():
    assert parse('[products." Pdt.1/é "]\nincluded = { full = 1 }', "a").product(" Pdt.1/é ") is not None


# The example.


def test_the_example_is_valid():
    catalog = parse(EXAMPLE.read_text("utf-8"), EXAMPLE.name)
    assert (list(catalog.products), catalog.contracts) == (["pdt_team", "pdt_per_user"], {})


def test_the_example_names_every_setting_and_is_valid_with_its_comments_switched_on():
    text = re.sub(r"^#(?=\S)", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    catalog = parse(text, EXAMPLE.name)
    assert catalog.contracts["acme"].seats == {"full": UNLIMITED}
    assert all(f"\n{status} = " in text for status in DEFAULT_EFFECTS)
    assert catalog.effects == DEFAULT_EFFECTS
    for key in RULE_KEYS:
        assert len(re.findall(rf"^{key} = ", text, flags=re.MULTILINE)) == 2


@pytest.mark.parametrize("word", [*policies.names(), *StatusEffect, *Billing, *Proration, *When])
def test_the_example_names_every_allowed_word(word):
    assert word in EXAMPLE.read_text("utf-8")
