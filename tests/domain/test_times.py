from datetime import UTC, datetime, timedelta, timezone

import pytest

from domain.times import day_words, iso_time, moment_words

EARLY_IN_TOKYO = datetime(2026, 12, 13, 7, 30, tzinfo=timezone(timedelta(hours=9)))


def test_a_time_as_json_is_utc_and_ends_in_z():
    assert iso_time(EARLY_IN_TOKYO) == "2026-12-12T22:30:00Z"


def test_a_time_as_json_keeps_its_microseconds():
    assert iso_time(datetime(2026, 12, 12, 9, 30, 0, 5, tzinfo=UTC)) == "2026-12-12T09:30:00.000005Z"


@pytest.mark.parametrize(
    ("in_words", "expected"), [(moment_words, "12 Dec 2026 22:30 UTC"), (day_words, "12 Dec 2026")]
)
def test_a_time_for_people_names_the_day_in_utc(in_words, expected):
    assert in_words(EARLY_IN_TOKYO) == expected
