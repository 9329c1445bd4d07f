"""Ids: which texts are valid. Every valid id can be sent as one segment of a URL."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import LONGEST_ID, MOST_ID_BYTES, is_id, path_segment, problem_of

IDS = [
    "a",
    "org/members/7",
    "/Projects/Test",
    "a/",
    "a//b",
    "...",
    "%2F",
    "a b",
    "ünï ⓒ",
    "👩‍👩‍👧",
    "m" * 200,
]
NO_IDS = [
    "",
    ".",
    "..",
    " a",
    "a ",
    "\ta",
    "a\u00a0",
    "a\0b",
    "a\nb",
    "a\x85b",
    "\ud800",
    "m" * 201,
    "👩" * 129,
]
LONGEST_LINE = 4094


@pytest.mark.parametrize("text", IDS)
def test_text_that_fits_into_a_url_segment_is_an_id(text: str):
    assert problem_of(text) is None


@pytest.mark.parametrize("text", NO_IDS, ids=ascii)
def test_text_that_does_not_fit_into_a_url_segment_is_no_id(text: str):
    assert not is_id(text)


@given(st.text(max_size=LONGEST_ID).filter(is_id))
def test_an_id_is_one_segment_that_reads_back_as_itself(text: str):
    segment = path_segment(text)
    assert "/" not in segment
    assert unquote(segment, errors="strict") == text


def test_two_of_the_longest_ids_fit_into_one_request_line():
    longest = path_segment("👩" * (MOST_ID_BYTES // 4))
    assert is_id(unquote(longest))
    assert len(f"DELETE /v1/accounts/{longest}/subscriptions/{longest} HTTP/1.1\r\n") <= LONGEST_LINE
