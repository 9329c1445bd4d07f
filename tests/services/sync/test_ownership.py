"""Ownership: the app, a checkout of ours, or an account's first customer says whose a subscription is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from domain.catalog.model import MetadataNames
from domain.errors import OwnAccount, SubscriptionNotFound
from domain.ownership import PROOF_KEY, sign
from models.audit import AuditRow
from models.notice import StoredNotice
from runtime.wiring import Runtime
from services.ledger import links
from tests.audit_replay import assert_audit_matches_the_tables
from tests.factories import a_cause
from tests.fakes import FakeProvider
from tests.services.sync.owned import NAMES_ACME, Owned
from tests.waiting import somebody_waits_for_a_lock, wait_until


@pytest.fixture
def owned(runtime: Runtime, provider: FakeProvider) -> Owned:
    return Owned(runtime, provider)


@pytest.fixture
def in_mode(runtime: Runtime, provider: FakeProvider) -> Callable[[str], Owned]:
    return lambda mode: Owned(runtime, provider, metadata_names=MetadataNames(mode))


def acme_has_a_customer(owned: Owned) -> None:
    owned.sells("sub_1", "cus_acme", NAMES_ACME, seats=10)


# A buyer names an account.


def test_an_account_without_subscriptions_is_the_first_customers(owned: Owned):
    acme_has_a_customer(owned)
    assert (owned.owner("sub_1"), owned.seats("acme")) == (("acme", "metadata"), 15)


def test_the_same_customer_may_pay_with_several_subscriptions(owned: Owned):
    acme_has_a_customer(owned)
    owned.sells("sub_2", "cus_acme", NAMES_ACME)
    assert (owned.owner("sub_2"), owned.seats("acme")) == (("acme", "metadata"), 20)


def test_one_customer_may_pay_for_several_accounts(owned: Owned):
    acme_has_a_customer(owned)
    owned.sells("sub_2", "cus_acme", {"account_id": "labs"})
    assert owned.owner("sub_2") == ("labs", "metadata")


@pytest.mark.parametrize("customer", ["cus_stranger", None])
@pytest.mark.parametrize(
    "fields", [{}, {"product_id": "pdt_soft"}, {"status": "on_hold"}, {"product_id": "pdt_x"}]
)
def test_a_strangers_subscription_stays_out_of_the_account_it_names(
    owned: Owned, customer: str | None, fields: dict
):
    acme_has_a_customer(owned)
    owned.sells("sub_2", customer, NAMES_ACME, **fields)
    assert (owned.owner("sub_2"), owned.seats("acme")) == (("sub_2", "own_id"), 15)
    assert "unproved_account" in owned.findings("sub_2")


@pytest.mark.parametrize("status", ["cancelled", "expired", "failed", "paused", "pending"])
def test_an_account_whose_subscription_is_over_is_still_its_customers(owned: Owned, status: str):
    owned.sells("sub_1", "cus_acme", NAMES_ACME, status=status)
    owned.sells("sub_2", "cus_stranger", NAMES_ACME)
    assert owned.owner("sub_2") == ("sub_2", "own_id")


def test_an_account_with_a_customer_who_is_not_known_is_not_believed(owned: Owned):
    owned.sells("sub_1", None, NAMES_ACME)
    owned.sells("sub_2", "cus_stranger", NAMES_ACME)
    assert owned.owner("sub_2") == ("sub_2", "own_id")


def test_an_account_that_the_app_linked_to_a_subscription_is_taken(owned: Owned):
    owned.link("acme", "sub_to_come")
    owned.sells("sub_2", "cus_stranger", NAMES_ACME)
    assert owned.owner("sub_2") == ("sub_2", "own_id")


def test_the_account_under_another_subscriptions_id_is_taken(owned: Owned):
    owned.sells("sub_1", "cus_quiet", {})
    owned.sells("sub_2", "cus_stranger", {"account_id": "sub_1"})
    assert owned.owner("sub_2") == ("sub_2", "own_id")


def test_what_is_not_believed_is_told_once(owned: Owned):
    acme_has_a_customer(owned)
    for _ in range(3):
        owned.sells("sub_2", "cus_stranger", NAMES_ACME)
    with owned.runtime.sessions() as session:
        told = session.scalars(select(StoredNotice).where(StoredNotice.type == "drift.found")).all()
    assert [(one.data["subject"], one.data["kind"]) for one in told] == [("sub_2", "unproved_account")]
    assert "names account 'acme'" in told[0].data["message"]


# The three modes.


@pytest.mark.parametrize(
    ("mode", "first", "second"),
    [
        ("first", ("acme", "metadata"), ("sub_2", "own_id")),
        ("trusted", ("acme", "metadata"), ("acme", "metadata")),
        ("never", ("sub_1", "own_id"), ("sub_2", "own_id")),
    ],
)
def test_plain_metadata_names_an_account_as_far_as_the_mode_allows(
    in_mode: Callable[[str], Owned], mode: str, first: tuple, second: tuple
):
    owned = in_mode(mode)
    acme_has_a_customer(owned)
    owned.sells("sub_2", "cus_other", NAMES_ACME)
    assert (owned.owner("sub_1"), owned.owner("sub_2")) == (first, second)


@pytest.mark.parametrize("mode", MetadataNames)
def test_a_proved_name_is_believed_in_every_mode(in_mode: Callable[[str], Owned], mode: str):
    owned = in_mode(mode)
    acme_has_a_customer(owned)
    owned.sells("sub_2", "cus_other", owned.signed("acme"))
    assert owned.owner("sub_2") == ("acme", "checkout")


# What proves a name.


def test_a_proof_serves_one_subscription(owned: Owned):
    """A buyer who sees the proof of a checkout cannot use it on a payment link."""
    metadata = owned.signed("acme")
    owned.sells("sub_1", "cus_acme", metadata)
    owned.sells("sub_2", "cus_stranger", metadata)
    assert (owned.owner("sub_1"), owned.owner("sub_2")) == (("acme", "checkout"), ("sub_2", "own_id"))


FORGED: dict[str, Callable[[dict], dict]] = {
    "for another account": lambda good: {**good, "account_id": "acme", PROOF_KEY: sign(b"x" * 32, "acme")},
    "moved to another account": lambda good: {**good, "account_id": "acme"},
    "cut off": lambda good: {"account_id": "acme", PROOF_KEY: str(good[PROOF_KEY])[:-1]},
    "empty": lambda good: {"account_id": "acme", PROOF_KEY: ""},
    "a number": lambda good: {"account_id": "acme", PROOF_KEY: 7},
    "of another version": lambda good: {"account_id": "acme", PROOF_KEY: "v2" + str(good[PROOF_KEY])[2:]},
    "not ASCII": lambda good: {"account_id": "acme", PROOF_KEY: "v1.ü.ü"},
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_proof_proves_nothing(owned: Owned, forge: Callable[[dict], dict]):
    acme_has_a_customer(owned)
    owned.sells("sub_2", "cus_stranger", forge({**owned.signed("other")}))
    assert owned.owner("sub_2") == ("sub_2", "own_id")


# What moves a subscription, and what does not.

NOT_NAMING = {
    "null": None,
    "empty": {},
    "the key gone": {"plan": "x"},
    "an empty name": {"account_id": ""},
    "blanks": {"account_id": "  "},
    "a boolean": {"account_id": True},
    "a fraction": {"account_id": 1.5},
    "too long": {"account_id": "x" * 201},
    "two lines": {"account_id": "a\nb"},
}


@pytest.mark.parametrize("metadata", NOT_NAMING.values(), ids=NOT_NAMING)
@pytest.mark.parametrize("proved", [False, True], ids=["plain", "proved"])
def test_metadata_that_names_no_account_moves_nothing(owned: Owned, metadata: object, proved: bool):
    owned.sells("sub_1", "cus_acme", owned.signed("acme") if proved else NAMES_ACME, seats=10)
    before = owned.owner("sub_1")
    owned.shows("sub_1", metadata=metadata)
    assert (owned.owner("sub_1"), owned.seats("acme")) == (before, 15)
    assert owned.findings("sub_1") == ["metadata_missing"]


def test_metadata_that_comes_back_closes_its_finding(owned: Owned):
    acme_has_a_customer(owned)
    owned.shows("sub_1", metadata=None)
    owned.shows("sub_1", metadata=NAMES_ACME)
    assert (owned.findings("sub_1"), owned.findings("sub_1", state="agreed")) == ([], ["metadata_missing"])


@pytest.mark.parametrize("metadata", NOT_NAMING.values(), ids=NOT_NAMING)
def test_a_name_that_was_not_believed_stays_a_finding_when_it_is_gone(owned: Owned, metadata: object):
    acme_has_a_customer(owned)
    owned.sells("sub_2", "cus_other", NAMES_ACME)
    owned.shows("sub_2", metadata=metadata)
    assert (owned.owner("sub_2"), owned.findings("sub_2")) == (("sub_2", "own_id"), ["unproved_account"])


def test_a_customer_who_is_left_out_once_stays_known(owned: Owned):
    acme_has_a_customer(owned)
    customer = owned.row("sub_1").verified.customer_id
    owned.shows("sub_1", customer_id=None)
    owned.sells("sub_2", customer, NAMES_ACME)
    assert owned.owner("sub_2") == ("acme", "metadata")


def test_who_never_named_an_account_has_nothing_missing(owned: Owned):
    owned.sells("sub_1", "cus_1", None)
    owned.shows("sub_1", metadata={})
    assert (owned.owner("sub_1"), owned.findings("sub_1")) == (("sub_1", "own_id"), [])


@pytest.mark.parametrize("mode", ["first", "never"])
@pytest.mark.parametrize("named", ["free", "taken"])
def test_another_plain_name_moves_nothing(in_mode: Callable[[str], Owned], mode: str, named: str):
    owned = in_mode(mode)
    owned.sells("sub_1", "cus_acme", owned.signed("acme"), seats=10)
    owned.sells("sub_2", "cus_other", owned.signed("taken"))
    owned.shows("sub_1", metadata={"account_id": named})
    assert owned.owner("sub_1") == ("acme", "checkout")
    assert owned.findings("sub_1") == ["unproved_account"]


def test_a_name_that_comes_later_moves_nothing_either(owned: Owned):
    owned.sells("sub_1", "cus_1", None)
    owned.shows("sub_1", metadata=NAMES_ACME)
    assert (owned.owner("sub_1"), owned.findings("sub_1")) == (("sub_1", "own_id"), ["unproved_account"])


def test_where_metadata_is_trusted_it_moves_a_subscription(in_mode: Callable[[str], Owned]):
    owned = in_mode("trusted")
    acme_has_a_customer(owned)
    owned.shows("sub_1", metadata={"account_id": "other"})
    assert (owned.owner("sub_1"), owned.seats("acme"), owned.seats("other")) == (("other", "metadata"), 0, 15)


def test_another_proved_name_moves_it(owned: Owned):
    acme_has_a_customer(owned)
    owned.shows("sub_1", metadata=owned.signed("other"))
    assert (owned.owner("sub_1"), owned.seats("acme"), owned.seats("other")) == (("other", "checkout"), 0, 15)


# The app's word.


@pytest.mark.parametrize("mode", MetadataNames)
def test_the_apps_link_outlives_every_name(in_mode: Callable[[str], Owned], mode: str):
    owned = in_mode(mode)
    owned.sells("sub_1", "cus_1", NAMES_ACME)
    owned.link("chosen", "sub_1")
    for metadata in (NAMES_ACME, owned.signed("acme"), None, {}):
        owned.shows("sub_1", metadata=metadata)
        assert (owned.owner("sub_1"), owned.findings("sub_1")) == (("chosen", "app"), [])


def doubted(owned: Owned) -> None:
    acme_has_a_customer(owned)
    owned.sells("sub_2", "cus_other", NAMES_ACME)
    assert owned.findings("sub_2") == ["unproved_account"]


def test_the_apps_link_closes_the_finding(owned: Owned):
    doubted(owned)
    owned.link("acme", "sub_2")
    assert (owned.owner("sub_2"), owned.findings("sub_2"), owned.seats("acme")) == (("acme", "app"), [], 20)


def test_the_apps_refusal_closes_the_finding_for_good(owned: Owned):
    doubted(owned)
    owned.unlink("acme", "sub_2")
    owned.sync_now("sub_2")
    assert (owned.owner("sub_2"), owned.findings("sub_2")) == (("sub_2", "own_id"), [])


def test_an_account_that_does_not_exist_can_be_refused(in_mode: Callable[[str], Owned]):
    owned = in_mode("never")
    owned.sells("sub_1", "cus_1", {"account_id": "nobody"})
    owned.unlink("nobody", "sub_1")
    assert (owned.findings("sub_1"), owned.accounts) == ([], {"sub_1"})


LINKS: dict[str, Callable[[Owned], object]] = {
    "the app's": lambda owned: owned.link("acme", "sub_1"),
    "a checkout's": lambda owned: owned.shows("sub_1", metadata=owned.signed("acme")),
    "the metadata's": lambda owned: owned.sells("sub_1", "cus_1", NAMES_ACME),
}


@pytest.mark.parametrize("made", LINKS.values(), ids=LINKS)
def test_every_link_can_be_undone_and_stays_undone(owned: Owned, made: Callable[[Owned], object]):
    if made is not LINKS["the metadata's"]:
        owned.sells("sub_1", "cus_1", None)
    made(owned)
    assert owned.owner("sub_1")[0] == "acme"
    assert owned.unlink("acme", "sub_1")
    owned.sync_now("sub_1")
    assert (owned.owner("sub_1"), owned.seats("acme"), owned.seats("sub_1")) == (("sub_1", "own_id"), 0, 5)
    assert not owned.unlink("acme", "sub_1")


def test_undone_the_link_gives_way_to_what_the_metadata_proves(owned: Owned):
    owned.sells("sub_1", "cus_1", owned.signed("beta"))
    owned.link("acme", "sub_1")
    owned.unlink("acme", "sub_1")
    assert owned.owner("sub_1") == ("beta", "checkout")


def test_a_link_after_the_refusal_is_the_newer_word(owned: Owned):
    doubted(owned)
    owned.unlink("acme", "sub_2")
    owned.link("acme", "sub_2")
    assert owned.owner("sub_2") == ("acme", "app")
    assert owned.row("sub_2").refused_accounts == []


def test_a_subscription_that_was_never_seen_belongs_to_nobody_once_unlinked(owned: Owned):
    owned.link("acme", "sub_typo")
    owned.sync_now("sub_typo")
    assert owned.findings("sub_typo") == ["not_at_provider"]
    owned.unlink("acme", "sub_typo")
    owned.sync_now("sub_typo")
    assert (owned.owner("sub_typo"), owned.findings("sub_typo")) == ((None, None), [])


def test_its_own_account_is_where_a_subscription_falls_back_to(owned: Owned):
    owned.sells("sub_1", "cus_1", None)
    with pytest.raises(OwnAccount):
        owned.unlink("sub_1", "sub_1")


def test_an_unknown_subscription_has_no_link(owned: Owned):
    with pytest.raises(SubscriptionNotFound):
        owned.unlink("acme", "sub_who")


def test_links_and_their_undoing_are_in_the_audit(owned: Owned):
    acme_has_a_customer(owned)
    owned.link("other", "sub_1")
    owned.unlink("other", "sub_1")
    with owned.runtime.sessions() as session:
        assert_audit_matches_the_tables(session)
        of_subscription = select(AuditRow).where(AuditRow.subscription_id == "sub_1")
        rows = session.scalars(of_subscription.order_by(AuditRow.id)).all()
    assert [row.account_id for row in rows] == ["acme", "acme", "other", "acme", "other"]
    assert rows[-1].subject_after["refused_accounts"] == ["other"]


# Accounts that come into being.


def test_plain_metadata_brings_no_more_than_so_many_accounts_into_being_within_an_hour(
    runtime: Runtime, provider: FakeProvider
):
    owned = Owned(runtime, provider, metadata_accounts_per_hour=2)
    for number in range(4):
        owned.sells(f"sub_{number}", f"cus_{number}", {"account_id": f"new-{number}"})
    assert owned.accounts == {"new-0", "new-1", "sub_2", "sub_3"}
    assert owned.findings("sub_3") == ["unproved_account"]


EXEMPT: dict[str, Callable[[Owned], object]] = {
    "an account that is there": lambda owned: owned.sells("sub_2", "cus_1", {"account_id": "new"}),
    "a proved name": lambda owned: owned.sells("sub_2", "cus_2", owned.signed("more")),
    "a subscription from before": lambda owned: owned.sells(
        "sub_2", "cus_2", {"account_id": "more"}, created_at=datetime(2020, 1, 1, tzinfo=UTC)
    ),
}


@pytest.mark.parametrize("sell", EXEMPT.values(), ids=EXEMPT)
def test_the_limit_is_not_about(runtime: Runtime, provider: FakeProvider, sell: Callable[[Owned], object]):
    owned = Owned(runtime, provider, metadata_accounts_per_hour=1)
    owned.sells("sub_1", "cus_1", {"account_id": "new"})
    sell(owned)
    assert (owned.findings("sub_2"), owned.owner("sub_2")[0] in {"new", "more"}) == ([], True)


def test_links_that_stood_before_an_upgrade_stay(owned: Owned):
    """Two customers in one account, by plain metadata, as older releases allowed."""
    acme_has_a_customer(owned)
    owned.sells("sub_2", "cus_other", owned.signed("acme"))
    with owned.runtime.sessions.begin() as session:
        row = session.get_one(type(owned.row("sub_2")), "sub_2")
        row.linked_by, row.checkout_nonce = "metadata", None
    owned.shows("sub_2", metadata=NAMES_ACME)
    assert (owned.owner("sub_2"), owned.findings("sub_2")) == (("acme", "metadata"), [])


def test_two_calls_at_once_may_link_a_subscription_that_is_not_known_yet(owned: Owned):
    with ThreadPoolExecutor(1) as pool, owned.runtime.transaction() as session:
        links.link(session, "acme", "sub_1", owned.runtime.catalog, a_cause())
        second = pool.submit(owned.link, "acme", "sub_1")
        wait_until(lambda: somebody_waits_for_a_lock(session), "the second waits for the first")
        session.commit()
        assert second.result() is False
    assert owned.owner("sub_1") == ("acme", "app")
