"""The simulator's README lists all routes, actions and knobs."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

import simulator
from simulator.app import create_app
from simulator.billing.charge import Reason, Result
from simulator.billing.proration import SHARES
from simulator.control import actions, portal
from simulator.knobs import Knobs
from simulator.webhooks.outbox import MessageState

README = (Path(simulator.__file__).parent / "README.md").read_text()
WORDS = set(re.findall(r"`([^`]+)`", README.replace("```", "")))


@pytest.mark.parametrize(
    "words",
    [Knobs.__dataclass_fields__, actions.ACTIONS, portal.ACTIONS, SHARES, MessageState, Reason, Result],
)
def test_every_knob_action_mode_and_state_is_explained(words):
    assert set(words) - WORDS == set()


def test_every_route_is_listed(world):
    routes = {
        f"{method} {rule.rule}"
        for rule in create_app(world, threading.Event()).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes - WORDS == set()
