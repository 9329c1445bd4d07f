from __future__ import annotations

import random

import pytest

from simulator.billing.lifecycle import ENDED
from simulator.business import MOST_SUBSCRIPTIONS, Business
from simulator.companies import FOUNDERS
from simulator.world import Settings, World


def quiet_world():
    world = World(Settings(webhook_url="http://127.0.0.1:1/", webhook_secret="whsec_AAAA", api_key="k"))
    world.board.turn({"webhooks_enabled": False})
    return world


def played(steps, seed=1):
    world = quiet_world()
    business = Business(world, random.Random(seed))
    return world, [business.step() for _ in range(steps)]


@pytest.fixture(scope="module")
def a_long_story():
    return played(600)[1]


def carts(world):
    return {each.subscription_id: (each.quantity, each.addons) for each in world.state.all()}


def test_it_opens_with_its_founders():
    world, _ = played(FOUNDERS)
    assert {each.metadata["account_id"] for each in world.state.all()} >= {"acme", "tidewater"}


def test_it_never_grows_beyond_its_cap_and_never_dies():
    world, _ = played(1500)
    live = [each for each in world.state.all() if each.status not in ENDED]
    assert len(world.state) <= MOST_SUBSCRIPTIONS
    assert len(live) >= 4


def test_seats_move_in_most_steps():
    world = quiet_world()
    business = Business(world, random.Random(1))
    moved = 0
    for _ in range(300):
        before = carts(world)
        business.step()
        moved += carts(world) != before
    assert moved > 150


@pytest.mark.parametrize(
    "story", ["buys", "gives", "fails to pay", "pays the debt", "pauses", "resumes", "leave", "becomes"]
)
def test_everything_happens_sooner_or_later(a_long_story, story):
    assert any(story in told for told in a_long_story)


def test_the_same_seed_tells_the_same_story():
    assert played(200, seed=7)[1] == played(200, seed=7)[1]


def test_what_was_made_by_hand_is_left_alone():
    world = quiet_world()
    mine = world.open({"metadata": {"account_id": "mine"}})
    business = Business(world, random.Random(1))
    for _ in range(200):
        business.step()
    assert world.state.get(mine.subscription_id) == mine
