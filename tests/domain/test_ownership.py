"""Ownership: the order in which an owner is decided, for every state and every name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.catalog.model import Catalog, MetadataNames
from domain.ownership import (
    Doubt,
    LinkedBy,
    Name,
    Owner,
    Placement,
    decide,
    named_account,
    proved_nonce,
    sign,
)
from tests.domain.unhurried import unhurried

IDS = st.sampled_from(["acme", "beta", "sub_1"])
OWNERS = st.none() | st.builds(Owner, IDS, st.sampled_from(LinkedBy))
PLACEMENTS = st.builds(
    Placement, subscription_id=st.just("sub_1"), owner=OWNERS, refused=st.frozensets(IDS, max_size=2)
)
NAMES = st.none() | st.builds(Name, IDS, st.none() | st.just("nonce"))
DOUBTS = st.none() | st.sampled_from([Doubt.OTHER_CUSTOMER, Doubt.TOO_MANY_ACCOUNTS])
MODES = st.sampled_from(MetadataNames)


def decided(placement, name, mode, doubt):
    return decide(placement, name, Catalog(metadata_names=mode), lambda _: doubt)


@unhurried
@given(PLACEMENTS, NAMES, MODES, DOUBTS)
def test_a_subscription_moves_by_a_proof_or_by_trusted_metadata_alone(placement, name, mode, doubt):
    decision = decided(placement, name, mode, doubt)
    moves = placement.owner is not None and decision.owner.account_id != placement.owner.account_id
    if moves:
        assert placement.owner.linked_by is not LinkedBy.APP
        assert name is not None
        assert name.nonce is not None or mode is MetadataNames.TRUSTED
        assert decision.owner.account_id == name.account_id
        assert name.account_id not in placement.refused


@unhurried
@given(PLACEMENTS, NAMES, MODES, DOUBTS)
def test_to_decide_again_changes_nothing(placement, name, mode, doubt):
    first = decided(placement, name, mode, doubt)
    settled = Placement(
        subscription_id=placement.subscription_id, owner=first.owner, refused=placement.refused
    )
    assert decided(settled, name, mode, doubt).owner == first.owner


@unhurried
@given(PLACEMENTS, NAMES, MODES, DOUBTS)
def test_a_name_that_is_not_followed_is_a_finding_unless_the_app_has_spoken(placement, name, mode, doubt):
    decision = decided(placement, name, mode, doubt)
    is_app = placement.owner is not None and placement.owner.linked_by is LinkedBy.APP
    if name is not None and decision.owner.account_id != name.account_id and not is_app:
        assert decision.is_doubted != (name.account_id in placement.refused)
    else:
        assert not decision.is_doubted


@unhurried
@given(st.none() | IDS, MODES, DOUBTS)
def test_a_subscription_without_owner_gets_its_own_account(refused, mode, doubt):
    placement = Placement(subscription_id="sub_9", refused=frozenset({refused} if refused else ()))
    assert decided(placement, None, mode, doubt).owner == Owner("sub_9", LinkedBy.OWN_ID)


@unhurried
@given(st.text(min_size=1), st.text(min_size=1), st.binary(min_size=1, max_size=40))
def test_a_proof_is_for_one_account_and_one_secret(account_id, other, secret):
    proof = sign(secret, account_id)
    assert proved_nonce(secret, account_id, proof) is not None
    assert proved_nonce(secret + b"x", account_id, proof) is None
    assert (proved_nonce(secret, other, proof) is None) == (other != account_id)


@unhurried
@given(st.binary(min_size=1), st.text())
def test_no_text_makes_a_proof_raise(secret, text):
    assert proved_nonce(secret, "acme", text) is None


@unhurried
@given(
    st.none() | st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.floats() | st.booleans())
)
def test_without_a_key_nothing_is_named(metadata):
    assert named_account(metadata, None) is None
