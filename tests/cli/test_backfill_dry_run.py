"""The dry run of a backfill finds owners and figures as a sync does, whatever the provider leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from sqlalchemy import select

from cli.backfill.dry_run import DryRun
from cli.backfill.staging import Staging
from cli.progress import progress_output
from domain.balance import Balance
from domain.catalog.model import MetadataNames
from domain.snapshot import AddonQuantity
from models.account import Account
from runtime.wiring import Runtime
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.owned import NAMES_ACME, Owned

LEFT_OUT: dict[str, Mapping[str, object]] = {
    "nothing": {},
    "metadata null": {"metadata": None},
    "the key": {"metadata": {"plan": "x"}},
    "add-ons": {"addons": None},
    "a product that is known": {"product_id": "pdt_who"},
    "a status that is known": {"status": "hibernating"},
    "the payment for more": {"status": "on_hold", "addons": (AddonQuantity("adn_seat", 90),)},
    "another plain name": {"metadata": {"account_id": "other"}},
}
NEWCOMERS: dict[str, Callable[[Owned], Mapping[str, object]]] = {
    "nobody": lambda _: {},
    "a stranger": lambda _: {"customer_id": "cus_stranger", "metadata": NAMES_ACME},
    "the same customer": lambda _: {"customer_id": "cus_acme", "metadata": NAMES_ACME},
    "a checkout": lambda owned: {"customer_id": "cus_new", "metadata": owned.signed("acme")},
}


def rehearsed(runtime: Runtime) -> dict[str, dict[str, object]]:
    with Staging() as stage, progress_output() as show:
        rehearsal = DryRun(runtime, stage)
        rehearsal.read(show, patience=1)
        return {one.account_id: seats_that_are_there(one.seats) for one in rehearsal.accounts()}


def written(owned: Owned) -> dict[str, dict[str, object]]:
    with owned.runtime.sessions() as session:
        found = session.scalars(select(Account)).all()
    return {
        one.id: seats_that_are_there(
            {name: Balance.from_json(kept).purchased for name, kept in one.seats.items()}
        )
        for one in found
    }


def seats_that_are_there(seats: Mapping[str, object]) -> dict[str, object]:
    return {name: number for name, number in seats.items() if number != 0}


@pytest.mark.parametrize("mode", MetadataNames)
@pytest.mark.parametrize("left_out", LEFT_OUT.values(), ids=LEFT_OUT)
@pytest.mark.parametrize("comes", NEWCOMERS.values(), ids=NEWCOMERS)
def test_a_dry_run_shows_what_a_sync_would_write(
    runtime: Runtime, provider: FakeProvider, mode: MetadataNames, left_out, comes
):
    owned = Owned(runtime, provider, metadata_names=mode)
    owned.sells("sub_1", "cus_acme", NAMES_ACME, seats=10)
    provider.subscriptions["sub_1"] = replace(provider.subscriptions["sub_1"], **left_out)
    if fields := comes(owned):
        provider.subscriptions["sub_2"] = a_snapshot("sub_2", **fields)
    foreseen = rehearsed(owned.runtime)
    for subscription_id in provider.subscriptions:
        owned.look(subscription_id)
    after = written(owned)
    assert foreseen == {name: seats for name, seats in after.items() if name in foreseen}
    assert all(seats == {} for name, seats in after.items() if name not in foreseen)


def test_new_subscriptions_of_two_customers_do_not_share_a_name(runtime: Runtime, provider: FakeProvider):
    owned = Owned(runtime, provider)
    for number in (1, 2):
        name = f"sub_{number}"
        provider.subscriptions[name] = a_snapshot(name, customer_id=f"cus_{number}", metadata=NAMES_ACME)
    assert set(rehearsed(owned.runtime)) == {"acme", "sub_2"}
