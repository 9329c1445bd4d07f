"""Rules belong to seat types: the products that give seats of a type decide about it, and nobody else.

Each case is one account whose second subscription comes, changes or goes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import permutations

import pytest

from domain.errors import PurchaseNeeded, Refused
from domain.policies import by_strictness
from domain.snapshot import AddonQuantity
from models.account import Account
from runtime.wiring import Runtime
from services.ledger import links, purchase_limits
from services.ledger.locked_account import lock_account
from services.ledger.purchase_limits import AccountView
from services.reports import audit_verification, history
from tests.acme import DAY, POLICIES, Acme
from tests.clock import Clock
from tests.factories import NOON, a_cause

GRACE = 14 * DAY
DEADLINE = NOON + GRACE
PRODUCTS = """
[products.pdt_support]
policy = "{other}"
addons.adn_support = {{}}

[products.pdt_viewers]
included = {{ viewer = 3 }}
policy = "{other}"
grace_days = 3
hold_days = 1

[products.pdt_both]
addons.adn_seat = {{ full = 1 }}
addons.adn_viewer = {{ viewer = 1 }}
policy = "{other}"
grace_days = 3
hold_days = 1
suspend_after_grace = true

[products.pdt_short]
per_unit = {{ full = 1 }}
policy = "grace"
grace_days = 3

[products.pdt_long]
per_unit = {{ full = 1 }}
policy = "grace"
grace_days = 90
suspend_after_grace = true
"""


@pytest.fixture
def account(clocked_runtime: Runtime, clock: Clock) -> Callable[..., Acme]:
    """`acme`, with further products whose policy is another one."""

    def with_others(other: str = "soft", extra: str = "") -> Acme:
        return Acme(clocked_runtime, clock, PRODUCTS.format(other=other) + extra)

    return with_others


def viewers(count: int) -> dict[str, object]:
    return {"addons": (AddonQuantity("adn_viewer", count),)}


# A product without seats of a type has no say over it.

WITHOUT_A_SAY = {
    "a product that gives no seats": ("pdt_support", {}),
    "a product of another seat type": ("pdt_viewers", {}),
    "a product that could give such seats and gives none": ("pdt_both", viewers(2)),
    "a product whose subscription has ended": ("pdt_of_soft", {"status": "cancelled"}),
    "a product whose subscription has not begun": ("pdt_of_soft", {"status": "pending"}),
    "a product whose subscription is suspended": ("pdt_of_soft", {"status": "paused"}),
    "a product that the catalogue does not know": ("pdt_unheard_of", {}),
}
without_a_say = pytest.mark.parametrize("second", WITHOUT_A_SAY.values(), ids=WITHOUT_A_SAY.keys())


@without_a_say
@pytest.mark.parametrize("own", POLICIES)
def test_a_second_product_without_such_seats_changes_no_answer(account, own: str, second):
    acme = account("soft" if own != "soft" else "strict")
    acme.buys(own, 1)
    acme.seats("first")
    acme.also_buys(second[0], **second[1])
    answers = {
        "strict": "no_seat_available",
        "auto_expand": "purchase_needed",
        "grace": "granted",
        "soft": "granted",
    }
    assert (acme.claims("second"), acme.policy_of()) == (answers[own], own)
    assert acme.findings("rules_differ") == []


@without_a_say
def test_a_second_product_without_such_seats_moves_no_deadline(account, second):
    acme = account("soft")
    acme.buys("grace", 1)
    acme.seats("first", "second")
    acme.after(5 * DAY)
    acme.also_buys(second[0], **second[1])
    assert acme.deadline() == DEADLINE
    acme.also_buys(second[0], status="cancelled")
    assert acme.deadline() == DEADLINE


def test_each_seat_type_has_the_rules_of_the_product_that_gives_it(account):
    acme = account("soft")
    acme.buys("strict", 1)
    acme.also_buys("pdt_viewers")
    acme.seats("first", "v1", "v2", "v3", role="viewer")
    assert (acme.claims("v4", role="viewer"), acme.status) == ("granted", "over_limit")
    acme.seats("ada")
    assert acme.claims("ben") == "no_seat_available"


def test_invitations_last_as_long_as_the_product_of_their_seat_says(account):
    acme = account("strict")
    acme.buys("strict", 2)
    acme.also_buys("pdt_viewers")
    acme.seats("invited", hold=True)
    acme.seats("guest", role="viewer", hold=True)
    acme.after(DAY)
    assert acme.states() == {"invited": "held"}


CONTRACT = """
[contracts.acme]
account = "acme"
starts = 2026-01-01
seats = { full = 1 }
"""
FREE = "[free]\nincluded = { full = 1 }"


@without_a_say
def test_the_seats_of_a_contract_are_under_the_defaults(account, second):
    acme = account(extra=CONTRACT)
    acme.exists()
    acme.also_buys(second[0], **{"quantity": 3, **second[1]})
    acme.seats("first")
    assert (acme.claims("second"), acme.policy_of()) == ("no_seat_available", "strict")


def test_a_product_that_sells_other_seats_makes_a_contract_no_stricter(account):
    acme = account("strict", extra=CONTRACT)
    acme.exists()
    acme.edits_catalogue('[defaults]\npolicy = "strict"', '[defaults]\npolicy = "soft"')
    acme.also_buys("pdt_viewers")
    assert acme.policy_of() == "soft"


def test_a_product_that_gives_such_seats_beside_a_contract_decides_about_them(account):
    acme = account(extra=CONTRACT)
    acme.buys("soft", 1)
    assert acme.policy_of() == "soft"


@pytest.mark.parametrize("own", ["strict", "a contract"])
def test_a_product_that_has_ended_lifts_no_limit(account, own: str):
    acme = account(extra=CONTRACT if own == "a contract" else "")
    acme.buys("strict", 1) if own == "strict" else acme.exists()
    acme.also_buys("pdt_viewers", status="cancelled")
    assert acme.claims("guest", "viewer") == "no_seat_available"
    assert acme.findings("rules_differ") == []


@pytest.mark.parametrize("status", ["cancelled", "expired", "failed"])
def test_free_seats_are_under_the_defaults(account, status: str):
    acme = account(extra=FREE)
    acme.buys("soft", 3)
    acme.changes(status=status)
    acme.seats("first")
    assert (acme.claims("second"), acme.account.policy) == ("no_seat_available", "strict")


def test_a_product_alone_on_its_account_decides_about_everything(account):
    acme = account()
    acme.buys("soft", 0)
    assert acme.claims("first", role="viewer") == "granted"


BESIDE_IT = {
    "a product that gives no seats": ("pdt_support", {}),
    "a product of another seat type": ("pdt_viewers", {}),
    "a product whose subscription is suspended": ("pdt_of_soft", {"status": "paused"}),
}


@pytest.mark.parametrize("second", BESIDE_IT.values(), ids=BESIDE_IT.keys())
def test_a_second_product_without_such_seats_does_not_keep_them_from_being_bought(account, second):
    acme = account("soft", "[products.pdt_other]\nper_unit = { full = 1 }")
    acme.buys("auto_expand", 1)
    acme.seats("first")
    acme.also_buys(second[0], **second[1])
    assert why_not_bought(acme) is None
    acme.also_buys("pdt_other", "sub_3")
    assert isinstance(why_not_bought(acme), PurchaseNeeded)


def why_not_bought(acme: Acme) -> Refused | None:
    with acme.runtime.transaction() as session:
        present = AccountView.of(lock_account(session, "acme"))
        return purchase_limits.why_not_bought(session, present, "full", acme.runtime.catalog)


def test_the_days_limit_is_that_of_the_product_whose_seats_are_bought(account):
    acme = account("auto_expand", "[products.pdt_few]\nincluded = { viewer = 1 }\nauto_expand_limit = 1")
    acme.buys("auto_expand", 1)
    acme.also_buys("pdt_few")
    with acme.runtime.transaction() as session:
        present = AccountView.of(lock_account(session, "acme"))
        limits = [
            purchase_limits.daily_budget(session, present, acme.runtime.catalog, types).per_day
            for types in (["full"], ["viewer"], ["full", "viewer"])
        ]
    assert limits == [10, 1, 1]


# Where products give the same seats under different rules, the strictest hold, with a finding.


@pytest.mark.parametrize(("first", "second"), list(permutations(POLICIES, 2)))
def test_of_two_policies_for_a_seat_type_the_stricter_holds(account, first: str, second: str):
    acme = account()
    acme.buys(first, 1)
    acme.also_buys(f"pdt_of_{second}", quantity=1)
    stricter = min(first, second, key=by_strictness().index)
    assert (acme.policy_of(), acme.account.policy) == (stricter, stricter)
    (found,) = acme.findings("rules_differ")
    assert (found.subject, found.field, found.theirs) == (
        "account:acme",
        "rules.full",
        f"pdt_of_{min(first, second)}, pdt_of_{max(first, second)}",
    )


def test_the_catalogue_may_state_another_order(clocked_runtime: Runtime, clock: Clock):
    acme = Acme(clocked_runtime, clock)
    acme.edits_catalogue(
        "[defaults]", '[defaults]\npolicy_order = ["soft", "grace", "auto_expand", "strict"]'
    )
    acme.buys("strict", 1)
    acme.also_buys("pdt_of_soft", quantity=1)
    assert acme.policy_of() == "soft"


def test_the_shortest_grace_holds_and_the_rule_that_suspends(account):
    acme = account()
    acme.buys("grace", 1)
    acme.also_buys("pdt_short", quantity=1)
    acme.also_buys("pdt_long", "sub_3", quantity=1)
    rules = acme.account.rules_of("full")
    assert (rules.policy, rules.grace, rules.suspend_after_grace) == ("grace", 3 * DAY, True)


def test_a_period_of_a_policy_that_does_not_hold_shortens_nothing(account):
    """`grace_days` of a product that needs none is most often only the default."""
    acme = account("soft")
    acme.buys("grace", 1)
    acme.also_buys("pdt_both", addons=(AddonQuantity("adn_seat", 1),))
    assert (acme.policy_of(), acme.account.rules_of("full").grace) == ("grace", GRACE)


def test_the_same_rules_in_two_products_are_no_finding(account):
    acme = account("soft")
    acme.buys("soft", 1)
    acme.also_buys("pdt_both", addons=(AddonQuantity("adn_seat", 1),))
    acme.sets_policy(hold_days=7)
    assert acme.findings("rules_differ") == []


def ends(acme: Acme) -> None:
    acme.also_buys("pdt_of_soft", quantity=1, status="cancelled")


def moves_away(acme: Acme) -> None:
    with acme.runtime.transaction() as session:
        links.link(session, "others", "sub_2", acme.runtime.catalog, a_cause())


def is_decided(acme: Acme) -> None:
    acme.sets_policy(policy="grace")


def is_decided_for_the_type(acme: Acme) -> None:
    acme.sets_policy(seat_types={"full": "grace"})


@pytest.mark.parametrize("how", [ends, moves_away, is_decided, is_decided_for_the_type])
def test_the_finding_goes_when_the_rules_no_longer_differ(account, how: Callable[[Acme], None]):
    acme = account()
    acme.buys("strict", 1)
    acme.also_buys("pdt_of_soft", quantity=1)
    how(acme)
    assert acme.findings("rules_differ") == []


@pytest.mark.parametrize("policy", POLICIES)
def test_the_apps_own_decision_beats_every_product(account, policy: str):
    acme = account()
    acme.buys("strict", 1)
    acme.also_buys("pdt_of_soft", quantity=1)
    acme.sets_policy(policy=policy)
    assert acme.policy_of() == policy


# The clock belongs to the overage.


def over_the_limit(acme: Acme) -> None:
    acme.buys("grace", 1)
    acme.seats("first", "second", "third")


PRODUCT = "[products.pdt_of_grace]"
LONGER = f"{PRODUCT}\ngrace_days = 90"
MOVES = {
    "a stricter product comes": lambda acme: acme.also_buys("pdt_of_strict", quantity=1),
    "a softer product comes": lambda acme: acme.also_buys("pdt_of_soft", quantity=1),
    "a product with a shorter period comes": lambda acme: acme.also_buys("pdt_short", quantity=1),
    "a product with a longer period that suspends comes": lambda acme: acme.also_buys("pdt_long", quantity=1),
    "the product becomes a strict one": lambda acme: acme.buys("strict", 1),
    "the product becomes a soft one": lambda acme: acme.buys("soft", 1),
    "the product becomes one with a longer period": lambda acme: acme.changes(product_id="pdt_long"),
    "the app decides on soft": lambda acme: acme.sets_policy(policy="soft"),
    "the app decides on a longer period": lambda acme: acme.sets_policy(policy="grace", grace_days=90),
    "the app decides to suspend": lambda acme: acme.sets_policy(suspend_after_grace=True),
    "the product's period becomes longer": lambda acme: acme.edits_catalogue(PRODUCT, LONGER),
    "a body raises the limit, and is not confirmed": lambda acme: acme.gets_webhook_during_outage(quantity=9),
}


def undone(acme: Acme) -> None:
    acme.edits_catalogue(LONGER, PRODUCT)
    acme.sets_policy()
    acme.buys("grace", 1)
    acme.also_buys("pdt_of_soft", status="cancelled")


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
@pytest.mark.parametrize("after", [5 * DAY, 20 * DAY], ids=["in time", "too late"])
def test_while_the_overage_lasts_no_deadline_moves_later(account, move, after: timedelta):
    acme = account()
    over_the_limit(acme)
    acme.after(after)
    move(acme)
    assert acme.deadline() in (None, DEADLINE)
    acme.after(DAY)
    undone(acme)
    assert acme.deadline() == DEADLINE


def test_a_period_that_a_product_brings_began_with_the_overage(account):
    acme = account()
    acme.buys("strict", 3)
    acme.seats("first", "second", "third")
    acme.buys("strict", 1)
    acme.after(5 * DAY)
    acme.buys("grace", 1)
    assert acme.deadline() == DEADLINE


def test_a_new_overage_gets_a_period_of_its_own(account):
    acme = account()
    over_the_limit(acme)
    acme.after(5 * DAY)
    acme.buys("grace", 3)
    acme.after(DAY)
    acme.buys("grace", 1)
    assert acme.deadline() == DEADLINE + 6 * DAY


def test_a_body_that_is_confirmed_ends_the_overage(account):
    acme = account()
    over_the_limit(acme)
    acme.gets_webhook_during_outage(quantity=3)
    acme.buys("grace", 3)
    acme.after(DAY)
    acme.buys("grace", 1)
    assert acme.deadline() == acme.clock.now + GRACE


def test_nobody_is_suspended_by_a_new_product_without_a_whole_period(account):
    acme = account()
    over_the_limit(acme)
    acme.after(20 * DAY)
    acme.also_buys("pdt_long", quantity=0)
    acme.changes(product_id="pdt_long")
    told: datetime | None = acme.suspends_at()
    assert told is not None
    assert told >= acme.clock.now + 90 * DAY
    acme.after(89 * DAY)
    assert len(acme.active) == 3
    acme.after(DAY)
    assert len(acme.active) == 1


def test_an_account_from_before_there_were_clocks_keeps_its_deadline(account):
    acme = account()
    over_the_limit(acme)
    acme.loses_balance_keys("over_since")
    acme.after(5 * DAY)
    acme.is_synced()
    assert acme.deadline() == DEADLINE


def test_the_audit_tells_the_policy_of_a_type_where_it_is_not_the_accounts(account):
    acme = account("soft")
    acme.buys("strict", 1)
    acme.sets_policy(seat_types={"full": "soft"})
    acme.check()
    with acme.runtime.sessions() as session:
        past = history.account_at(session, "acme", acme.clock.now)
    assert (dict(past.seat_policies), past.policy) == ({"full": "soft"}, "strict")
    assert breaks(acme) == []


def breaks(acme: Acme) -> list[object]:
    with acme.runtime.sessions() as session:
        return list(audit_verification.verify_account(session, "acme").breaks)


def test_the_audit_of_an_account_that_an_older_release_wrote_stays_unbroken(account):
    """It kept the policies of single types beside the balance alone."""
    acme = account()
    acme.buys("strict", 1)
    with acme.runtime.sessions.begin() as session:
        session.get_one(Account, "acme").seat_policies = {"full": "soft"}
    acme.seats("first", "second")
    assert breaks(acme) == []
    acme.check()
