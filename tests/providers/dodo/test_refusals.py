"""Each refusal that the provider documents: our code for it, whether a retry helps, what to do about it."""

from __future__ import annotations

import re

import pytest

from domain.provider_errors import CartRefused
from providers.dodo.refusals import REFUSALS, refused
from tests.provider_codes import CODES, NEXT_STEPS, NO_REFUSALS, Documented

DOCUMENTED = [one for one in CODES if one.provider_code not in NO_REFUSALS]
SENTENCES = re.compile(r"([A-Z][^.]{15,}\. ?)+")


def test_all_26_documented_refusals_are_known_and_no_other():
    assert len(DOCUMENTED) == 26
    assert REFUSALS.keys() == {one.provider_code for one in DOCUMENTED}


@pytest.mark.parametrize("one", DOCUMENTED, ids=lambda one: one.provider_code)
def test_a_refusal_has_our_code_and_says_whether_a_retry_helps(one: Documented):
    told = refused(one.provider_code)
    assert (told.code, told.retry_helps) == (one.code, one.retry_helps)
    assert told.details == {"provider_code": one.provider_code, "retry_helps": one.retry_helps}


@pytest.mark.parametrize("one", DOCUMENTED, ids=lambda one: one.provider_code)
def test_what_nobody_could_have_is_told_apart_from_what_this_subscription_cannot(one: Documented):
    assert isinstance(refused(one.provider_code), CartRefused) is (one.status == 422)


@pytest.mark.parametrize("one", DOCUMENTED, ids=lambda one: one.provider_code)
def test_a_refusal_says_in_full_sentences_why_and_what_to_do_next(one: Documented):
    refusal = REFUSALS[one.provider_code]
    assert SENTENCES.fullmatch(refusal.sentence)
    assert SENTENCES.fullmatch(refusal.advice)
    assert NEXT_STEPS[one.code] in refusal.advice


@pytest.mark.parametrize("provider_code", [*sorted(NO_REFUSALS), "SOMETHING_NEW", None])
def test_what_is_no_documented_refusal_is_told_as_one_nobody_knows(provider_code: str | None):
    told = refused(provider_code)
    assert (told.code, told.provider_code, told.retry_helps) == ("change_refused", provider_code, False)
    assert told.message.endswith("Check the subscription in the provider's dashboard.")
