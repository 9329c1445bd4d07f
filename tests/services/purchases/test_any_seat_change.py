"""Whatever is bought and whatever is wished for: what was shown, what is sold and what is counted agree."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.balance import Balance
from domain.billing_terms import Proration, When
from domain.cart import Cart
from domain.counts import cart_seats
from domain.errors import NothingToChange
from domain.snapshot import AddonQuantity
from models.account import Account
from models.seat_change import ChangeState
from runtime.wiring import Runtime
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.sync.on_demand import sync_subscription
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.services.purchases.seat_changes_model import cheapest, price_of
from tests.simulated import applied_writes, sell, units

pytestmark = pytest.mark.long(seconds=12)

Seats = Mapping[str, int]

CARTS = st.fixed_dictionaries(
    {
        "adn_seat": st.integers(0, 12),
        "adn_pack_10": st.integers(0, 3),
        "adn_viewer": st.integers(0, 6),
        "adn_support": st.integers(0, 2),
    }
)
WISHES = st.builds(
    SeatRequest,
    seats=st.dictionaries(st.sampled_from(["full", "viewer"]), st.integers(5, 60), min_size=1),
    when=st.sampled_from([None, *When]),
    proration=st.sampled_from([None, *Proration]),
)
FULL = {"adn_seat", "adn_pack_10"}
ACCOUNTS = (f"account-{number}" for number in count())


def renewed(service: Runtime, world: World, subscription_id: str) -> None:
    world.apply(subscription_id, actions.renew(world, Options()), silently=True)
    sync_subscription(service, subscription_id, patience=5)


def others(addons: Seats, wish: SeatRequest) -> Seats:
    """The units of what the wish is not about."""
    concerned = {"full": FULL, "viewer": {"adn_viewer"}}
    return {
        name: count for name, count in addons.items() if not any(name in concerned[t] for t in wish.seats)
    }


def bought(seat_type: str, wanted: int, before: Seats) -> int:
    """How many seats one gets: more than are wanted where these cost less."""
    is_full = seat_type == "full" and wanted != before["full"]
    return cheapest(wanted)[1] if is_full else wanted


def documented(service: Runtime, account_id: str) -> Seats:
    with service.sessions() as session:
        kept = session.get_one(Account, account_id).seats
        return {name: Balance.from_json(balance).purchased for name, balance in kept.items()}


def provided(service: Runtime, world: World, subscription_id: str) -> Seats:
    addons = tuple(AddonQuantity(*one) for one in units(world, subscription_id).items())
    counted = cart_seats(service.catalog, Cart("pdt_team", 1, addons))
    return {name: seats.purchased for name, seats in counted.items()}


@settings(
    max_examples=20,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cart=CARTS, wish=WISHES)
def test_preview_provider_and_document_agree_and_the_rest_of_the_cart_stays(
    service: Runtime, world: World, cart: Seats, wish: SeatRequest
):
    account_id, written = next(ACCOUNTS), applied_writes(world)
    sold = sell(world, service, cart, account_id)
    before, addons = documented(service, account_id), units(world, sold)
    wanted = {**before, **{name: bought(name, number, before) for name, number in wish.seats.items()}}
    try:
        previewed = preview(service, account_id, wish)
    except NothingToChange:
        assert before == wanted
        return
    done = confirm(service, account_id, previewed.token)
    if done.state == ChangeState.SCHEDULED:
        assert documented(service, account_id) == before
        renewed(service, world, sold)
    shown = {name: step["after"] for name, step in done.seats.items()}
    after = documented(service, account_id)
    assert after == {**before, **shown} == wanted == provided(service, world, sold)
    assert others(units(world, sold), wish) == others(addons, wish)
    if wish.seats.get("full", before["full"]) != before["full"]:
        assert (price_of(units(world, sold)), after["full"]) == cheapest(wish.seats["full"])
    assert applied_writes(world) == written + 1
