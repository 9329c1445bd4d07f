"""E-mail addresses: which spellings are the same address, and which are refused."""

from __future__ import annotations

from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.emails import address_key, problem_of

SAME = [
    ("ada@example.com", "ADA@Example.COM"),
    ("ada@example.com", " ada@example.com\t"),
    ("josé@example.com", "jose\u0301@example.com"),
    ("JOSE\u0301@example.com", "josé@example.com"),
    ("a@bücher.example", "a@xn--bcher-kva.example"),
    ("a@BU\u0308CHER.example", "a@XN--BCHER-KVA.example"),
    ("a@ｅxample.com", "a@example.com"),
    ("a@例え。jp", "a@xn--r8jz45g.jp"),
    ("ada@example.com", "ada@example.com."),
    ("a@bücher.example。", "a@xn--bcher-kva.example"),
    ("ΟΔΟΣ@example.com", "οδος@example.com"),
]
DIFFERENT = [
    ("groß@example.com", "gross@example.com"),
    ("GROẞ@example.com", "gross@example.com"),
    ("ſam@example.com", "sam@example.com"),
    ("ﬁn@example.com", "fin@example.com"),
    ("ŉ@example.com", "ʼn@example.com"),
    ("İ@example.com", "i@example.com"),
    ("ada@groß.example", "ada@gross.example"),
    ("ada@example.com", "a.da@example.com"),
    ("ada@example.com", "ada+x@example.com"),
    ("ａda@example.com", "ada@example.com"),
]
INVISIBLE = [
    *("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u180e", "\u202e", "\u2066", "\u061c"),
    *("\u034f", "\u115f", "\u3164", "\uffa0", "\u2800", "\ufe0f", "\U000e0041", "\U000e0100", "\0", "\x7f"),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=ascii)
def test_spellings_of_one_address_have_one_key(one: str, other: str):
    assert address_key(one) == address_key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=ascii)
def test_addresses_that_only_look_alike_have_two_keys(one: str, other: str):
    assert address_key(one) != address_key(other)


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
@pytest.mark.parametrize(
    "place", ["{}ada@example.com", "ad{}a@example.com", "ada@exa{}mple.com", "ada@example.com{}"]
)
def test_an_address_with_an_invisible_character_is_refused(character: str, place: str):
    problem = problem_of(place.format(character))
    assert problem is not None
    assert "invisible" in problem


@given(st.characters(categories=["Cf"]))
def test_every_format_character_is_invisible(character: str):
    assert problem_of(f"ada{character}@example.com") is not None


@pytest.mark.parametrize("domain", ["ü..example", "-ü.example", "ü" * 64 + ".example", "\u0301a.example"])
def test_an_address_whose_domain_cannot_exist_is_refused(domain: str):
    assert problem_of(f"ada@{domain}") == "must have a domain that can exist"


@pytest.mark.parametrize(
    "address", ["a@b", "a@my_host.local", "a@[127.0.0.1]", "o'hara+x@example.com", "用户@例え.jp"]
)
def test_a_good_address_has_no_problem(address: str):
    assert problem_of(address) is None


LOCAL = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(LOCAL)
def test_composed_and_decomposed_spellings_are_one_address(local: str):
    keys = {address_key(f"{normalize(form, local)}@example.com") for form in ("NFC", "NFD")}
    assert len(keys) == 1


@given(LOCAL)
def test_a_key_is_the_key_of_itself(local: str):
    key = address_key(f"{local}@example.com")
    assert address_key(key) == key


@given(LOCAL, LOCAL)
def test_one_key_means_equal_letters(one: str, other: str):
    """Two addresses with the same key differ only in case and Unicode composition."""
    if address_key(f"{one}@x") == address_key(f"{other}@x"):
        simple = [normalize("NFC", text).lower() for text in (one, other)]
        assert normalize("NFC", simple[0]) == normalize("NFC", simple[1])


def test_invisible_characters_in_stored_addresses_do_not_change_the_key():
    assert address_key("ada@example.com\u200b") == address_key("ada@example.com")
    assert all(category(character) != "Cf" for character in address_key("a\u200dda@exa\u00admple.com"))
