from datetime import UTC, datetime

import pytest

from providers import fields


@pytest.mark.parametrize("value", ["sub_1", "a", "ü" * 200, "a/b", "two words"])
def test_a_sane_text_is_kept(value):
    assert fields.text(value) == value


@pytest.mark.parametrize(
    "value", [None, "", 1, True, [], {}, "a\0b", "a\n", "\x7f", "\ud800", "\u200b", "a" * 201]
)
def test_any_other_text_is_none(value):
    assert fields.text(value) is None


@pytest.mark.parametrize("value", [0, 5, -3, 2**64 - 1])
def test_a_whole_number_is_kept(value):
    assert fields.integer(value) == value


@pytest.mark.parametrize("value", [None, True, False, 5.0, "5", [5]])
def test_any_other_number_is_none(value):
    assert fields.integer(value) is None


@pytest.mark.parametrize("value", [0, 1, -1, 0.5, -0.4983])
def test_a_number_is_kept(value):
    assert fields.decimal(value) == value


@pytest.mark.parametrize("value", [None, True, "1", [1], float("nan"), float("inf"), 10**400])
def test_what_is_no_usable_number_is_none(value):
    assert fields.decimal(value) is None


@pytest.mark.parametrize(
    "value", ["https://a.example/x?y=z", "http://127.0.0.1:1/", f"https://a/{'a' * 1900}"]
)
def test_an_address_is_kept(value):
    assert fields.url(value) == value


@pytest.mark.parametrize(
    "value", [None, 1, "", "javascript:x", "//a", "https://a\n", f"https://a/{'a' * 2000}"]
)
def test_any_other_address_is_none(value):
    assert fields.url(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-21T14:05:33.871204Z", datetime(2026, 11, 21, 14, 5, 33, 871204, UTC)),
        ("2026-11-21T14:05:33.871204999Z", datetime(2026, 11, 21, 14, 5, 33, 871204, UTC)),
        ("2026-11-21T16:05:33+02:00", datetime(2026, 11, 21, 14, 5, 33, 0, UTC)),
        ("2026-11-21T14:05:33", datetime(2026, 11, 21, 14, 5, 33, 0, UTC)),
    ],
)
def test_a_time_is_read_as_utc(value, expected):
    moment = fields.moment(value)
    assert moment == expected
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "value", [None, "", "now", 1795334400, "2026-13-01", "0001-01-01T00:00:00+14:00", "\0", []]
)
def test_any_other_time_is_none(value):
    assert fields.moment(value) is None


def test_only_plain_values_are_kept():
    value = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None, "f": [1], "g": {}, "h": "\0", "\0": "x"}
    assert fields.scalars(value) == {"a": "x", "b": 1, "c": 1.5, "d": True}


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_is_not_an_object_has_no_plain_values(value):
    assert fields.scalars(value) is None
