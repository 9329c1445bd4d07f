"""The terms that explain a figure add up to it, for every catalogue, subscription phase and contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.counts import SubscriptionShare, account_seats, subscription_seats
from domain.explain import Holding, formula, sources, terms_of, total
from domain.seat_limit import to_json
from domain.snapshot import AddonQuantity, SubscriptionSnapshot
from domain.statuses import Phase, StatusEffect, SubscriptionStanding
from tests.domain.catalogs import CATALOGS, SEAT_TYPES
from tests.domain.few_examples import few_examples

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
UNITS = st.integers(0, 9)


@st.composite
def holdings(draw, catalog, number):
    """A subscription of one of the catalogue's products, in any phase."""
    product = draw(st.sampled_from(list(catalog.products.values())))
    cart = st.lists(st.tuples(st.sampled_from([*product.addons]), UNITS), max_size=3)
    snapshot = SubscriptionSnapshot(
        subscription_id=f"sub_{number}",
        status="active",
        product_id=product.product_id,
        quantity=draw(UNITS),
        addons=tuple(AddonQuantity(*line) for line in draw(cart)) if product.addons else (),
    )
    phase = draw(st.sampled_from(Phase))
    standing = SubscriptionStanding(phase, NOW + timedelta(days=1) if phase is Phase.GRACE else None)
    return Holding(
        subscription_id=snapshot.subscription_id,
        snapshot=draw(st.sampled_from([snapshot, snapshot, None])),
        status="active",
        effect=StatusEffect.COUNTS,
        provider_deadline=None,
        is_counted=True,
        share=SubscriptionShare(subscription_seats(catalog, snapshot), standing),
    )


@st.composite
def accounts(draw):
    catalog = draw(CATALOGS)
    account_id = draw(
        st.sampled_from([contract.account_id for contract in catalog.contracts.values()] or ["a"])
    )
    return catalog, account_id, [draw(holdings(catalog, n)) for n in range(draw(st.integers(0, 3)))]


@few_examples
@given(accounts(), SEAT_TYPES)
def test_the_terms_add_up_to_the_account_s_seats(account, seat_type):
    catalog, account_id, held = account
    held = [one for one in held if one.snapshot is not None]
    terms = terms_of(sources(catalog, account_id, held, now=NOW), seat_type)
    counted = account_seats(catalog, account_id, [one.share for one in held], now=NOW)
    assert total(terms) == counted.of(seat_type).purchased
    assert formula(terms).endswith(f" = {to_json(counted.of(seat_type).purchased)}")


@few_examples
@given(accounts())
def test_every_source_is_named_even_if_it_gives_no_seats(account):
    catalog, account_id, held = account
    named = [one.name for one in sources(catalog, account_id, held, now=NOW)]
    assert named == [
        *(one.subscription_id for one in held),
        *(contract.name for contract in catalog.contracts_of(account_id)),
        *(["free"] if catalog.free is not None else []),
    ]


@few_examples
@given(accounts())
def test_every_source_has_a_reason(account):
    catalog, account_id, held = account
    assert all(one.because for one in sources(catalog, account_id, held, now=NOW))
