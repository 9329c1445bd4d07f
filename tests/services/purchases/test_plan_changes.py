"""Changes to another product: the whole cart each time, sent once, and in the end as the provider has it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.billing_terms import Proration, When
from domain.errors import NothingToChange
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.purchases.cancel import cancel
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.purchases.settle import settle
from simulator.server import Simulator
from simulator.world import World
from tests.plans import with_plans
from tests.services.purchases.test_any_seat_change import CARTS, documented
from tests.services.purchases.test_lost_answers import LOST, asked_once, lose_the_answer
from tests.services.purchases.test_seat_changes import in_use, long_ago, seated
from tests.services.purchases.test_whole_cart import CART, cart, renewed, sent
from tests.simulated import applied_writes, sell

pytestmark = pytest.mark.long(seconds=12)

Units = Mapping[str, int]
Step = tuple[str, Units, Units]
"""The product, the full seats asked for, and the add-ons that it ends with."""

# From eighteen full seats, four viewers and support in Team Pro.
STEPS = [
    ("pdt_yearly", {}, {"adn_seat_yearly": 13, "adn_viewer_yearly": 4, "adn_support": 1}),
    ("pdt_yearly", {"full": 20}, {"adn_seat_yearly": 15, "adn_viewer_yearly": 4, "adn_support": 1}),
    ("pdt_yearly", {"full": 5, "viewer": 0}, {"adn_support": 1}),
    ("pdt_business", {"full": 25}, {"adn_seat_business": 15, "adn_viewer": 4, "adn_support": 1}),
    ("pdt_solo", {"full": 8}, {"adn_seat": 5}),
    ("pdt_company", {}, {"adn_viewer": 4, "adn_support": 1}),
]
each_step = pytest.mark.parametrize("step", STEPS, ids=[f"{one[0]} {one[1]}" for one in STEPS])
ACCOUNTS = (f"account-{number}" for number in count())


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    return with_plans(runtime, simulator.url, world)


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, CART)


def changed(service: Runtime, product_id: str, seats: Units, when: When) -> SeatChange:
    wish = SeatRequest(seats=seats, product_id=product_id, when=when)
    return confirm(service, "acme", preview(service, "acme", wish).token)


# The whole cart.


@each_step
def test_another_product_now_has_the_whole_new_cart(service: Runtime, world: World, sold: str, step: Step):
    product_id, seats, after = step
    assert changed(service, product_id, seats, When.NOW).state == ChangeState.APPLIED
    assert cart(world, sold) == (product_id, 1, after)
    assert sent(world) == [(product_id, 1, after)]


@each_step
def test_another_product_at_the_renewal_leaves_the_old_cart_until_then(
    service: Runtime, world: World, sold: str, step: Step
):
    product_id, seats, after = step
    change = changed(service, product_id, seats, When.AT_RENEWAL)
    assert (change.state, cart(world, sold)) == (ChangeState.SCHEDULED, ("pdt_team", 1, CART))
    renewed(service, world, sold)
    assert cart(world, sold) == (product_id, 1, after)
    assert sent(world) == [(product_id, 1, after)]


@each_step
def test_another_product_that_was_cancelled_never_comes(
    service: Runtime, world: World, sold: str, step: Step
):
    change = changed(service, *step[:2], When.AT_RENEWAL)
    assert cancel(service, "acme", change.id).state == ChangeState.CANCELLED
    renewed(service, world, sold)
    assert cart(world, sold) == ("pdt_team", 1, CART)


def test_a_product_whose_payment_fails_at_the_renewal_leaves_the_old_cart(
    service: Runtime, world: World, sold: str
):
    changed(service, "pdt_yearly", {}, When.AT_RENEWAL)
    world.board.turn({"plan_change_payment": "fails"})
    renewed(service, world, sold)
    assert cart(world, sold) == ("pdt_team", 1, CART)


@pytest.mark.parametrize("payment", ["waits", "fails"])
def test_a_product_that_is_not_paid_gives_no_seats(service: Runtime, world: World, sold: str, payment: str):
    world.board.turn({"plan_change_payment": payment})
    change = changed(service, "pdt_business", {"full": 25}, When.NOW)
    assert change.state == ChangeState.SUBMITTED
    assert cart(world, sold) == ("pdt_team", 1, CART)
    assert documented(service, "acme") == {"full": 18, "viewer": 4}


# Lost answers.

LOST_WISHES = {
    "now": SeatRequest(seats={}, product_id="pdt_yearly", when=When.NOW),
    "at the renewal": SeatRequest(seats={}, product_id="pdt_yearly", when=When.AT_RENEWAL),
    "with fewer seats": SeatRequest(
        seats={"full": 8}, product_id="pdt_solo", when=When.NOW, release="suggested"
    ),
}
ENDS = {
    "now": ("applied", 12, 18),
    "at the renewal": ("scheduled", 12, 18),
    "with fewer seats": ("applied", 8, 8),
}


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("wish", LOST_WISHES)
def test_whatever_answer_is_lost_it_ends_as_the_provider_has_it_and_was_sent_once(
    service: Runtime, world: World, sold: str, wish: str, fault: str
):
    seated(service, *(f"member-{number}" for number in range(12)))
    token, change = lose_the_answer(service, world, LOST_WISHES[wish], fault)
    long_ago(service)
    ended = settle(service, change.id)
    is_done = LOST[fault][2]
    assert (ended.state, *in_use(service)) == (
        *(ENDS[wish] if is_done else ("failed", 12, 18)),
        "ok",
    )
    assert confirm(service, "acme", token).state == ended.state
    assert asked_once(world, fault)


# Any cart, any plan.

PLANS = st.builds(
    SeatRequest,
    seats=st.dictionaries(st.sampled_from(["full", "viewer"]), st.integers(25, 60)),
    product_id=st.sampled_from(["pdt_yearly", "pdt_business", "pdt_company", "pdt_team"]),
    when=st.sampled_from([None, *When]),
    proration=st.sampled_from([None, *Proration]),
)


@settings(
    max_examples=20,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(units=CARTS, wish=PLANS)
def test_whatever_was_shown_is_what_is_sent_sold_and_counted(
    service: Runtime, world: World, units: Units, wish: SeatRequest
):
    """At least twenty-five full seats, as the largest plan wants. Company has unlimited ones by itself."""
    account_id, written = next(ACCOUNTS), applied_writes(world)
    seats = {
        name: number
        for name, number in wish.seats.items()
        if wish.product_id != "pdt_company" or name != "full"
    }
    asked = SeatRequest(seats=seats, product_id=wish.product_id, when=wish.when, proration=wish.proration)
    sold = sell(world, service, {**units, "adn_pack_10": 3}, account_id)
    before = documented(service, account_id)
    try:
        previewed = preview(service, account_id, asked)
    except NothingToChange:
        assert wish.product_id == "pdt_team"
        return
    done = confirm(service, account_id, previewed.token)
    if done.state == ChangeState.SCHEDULED:
        assert documented(service, account_id) == before
        renewed(service, world, sold)
    shown = {name: step["after"] for name, step in done.seats.items()}
    cart_shown = previewed.change.shown["cart"]["after"]
    addons = {one["addon_id"]: one["quantity"] for one in cart_shown["addons"]}
    after = {
        name: str(n) if not isinstance(n, int) else n for name, n in documented(service, account_id).items()
    }
    assert cart(world, sold) == (wish.product_id, 1, addons)
    assert after == {**before, **shown}
    assert all(after[name] >= number for name, number in seats.items())
    assert addons.get("adn_support", 0) == units["adn_support"]
    assert applied_writes(world) == written + 1
