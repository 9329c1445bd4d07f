import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.headers import count, http_date, seconds_until

NOW = 1_795_334_400.0  # Sun, 22 Nov 2026 08:00:00 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("30", 30),
        ("1.5", 1.5),
        ("86400", 3600),
        (str(int(NOW) + 20), 20),
        (str(int(NOW) - 20), 0),
        (str((int(NOW) + 20) * 1000), 20),
        ("9" * 15, 3600),
        ("9" * 16, None),
        ("Sun, 22 Nov 2026 08:00:45 GMT", 45),
        ("Sun, 22 Nov 2026 07:00:00 GMT", 0),
        ("Sun, 22 Nov 2026 08:00:45 -0000", 45),
        ("-5", None),
        ("nan", None),
        ("1e3", None),
        ("soon", None),
        ("٣٠", None),
    ],
)
def test_a_wait_is_understood_or_ignored(text, seconds):
    assert seconds_until(text, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("0", 0), ("-1", None), ("1.5", None), (None, None)]
)
def test_a_count_is_a_whole_number(text, number):
    assert count(text) == number


def test_a_date_is_read():
    assert http_date("Sun, 22 Nov 2026 08:00:00 GMT") == NOW


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,4} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d [+-]\d{1,7}"))
def test_no_text_raises(text):
    seconds_until(text, NOW)
    http_date(text)
    count(text)
