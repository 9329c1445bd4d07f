from __future__ import annotations

import pytest

from simulator.knobs import Knobs
from simulator.rate_limit import RateLimiter, headers

WINDOWS = Knobs(webhook_url="http://x/").rate_limits


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limiter(clock):
    return RateLimiter(clock)


def test_the_default_windows_are_40_a_second_and_240_a_minute():
    assert WINDOWS == ((40, 1.0), (240, 60.0))


def test_the_41st_request_of_a_second_is_refused(limiter):
    admitted = [limiter.admit("key", WINDOWS).is_admitted for _ in range(41)]
    assert admitted == [True] * 40 + [False]


def test_the_next_second_has_room_again(limiter, clock):
    for _ in range(41):
        limiter.admit("key", WINDOWS)
    clock.now = 1.0
    assert limiter.admit("key", WINDOWS).is_admitted


def test_the_241st_request_of_a_minute_is_refused(limiter, clock):
    admitted = []
    for number in range(241):
        clock.now = number // 30
        admitted.append(limiter.admit("key", WINDOWS).is_admitted)
    assert admitted == [True] * 240 + [False]


def test_the_tightest_window_is_told(limiter, clock):
    for number in range(239):
        clock.now = number // 30
        limiter.admit("key", WINDOWS)
    allowance = limiter.admit("key", WINDOWS)
    assert (allowance.limit, allowance.remaining, allowance.reset_in) == (240, 0, 60.0 - 7)


def test_callers_do_not_share_windows(limiter):
    for _ in range(40):
        limiter.admit("key", WINDOWS)
    assert limiter.admit("address", WINDOWS).is_admitted


def test_no_windows_is_no_limit(limiter):
    assert limiter.admit("key", ()) is None


def test_the_reset_can_be_told_as_a_moment(limiter):
    allowance = limiter.admit("key", WINDOWS)
    assert int(headers(allowance, "unix")["X-RateLimit-Reset"]) > 1_700_000_000
    assert headers(allowance, "seconds")["X-RateLimit-Reset"] == "1"


def test_every_answer_tells_how_the_limit_stands(control, provider):
    control.turn(rate_limits=[[2, 60], [10, 600]])
    answers = [provider.call("GET", "/products") for _ in range(3)]
    told = [(answer.status_code, answer.headers["X-RateLimit-Remaining"]) for answer in answers]
    assert told == [(200, "1"), (200, "0"), (429, "0")]
    assert answers[2].json() == {"code": "TOO_MANY_REQUESTS", "message": ""}


def test_strangers_have_windows_of_their_own(control, provider):
    control.turn(unauthenticated_rate_limits=[[1, 60]])
    statuses = [
        provider.call("GET", "/products", headers={"Authorization": "Bearer no"}).status_code
        for _ in range(2)
    ]
    assert [*statuses, provider.call("GET", "/products").status_code] == [401, 429, 200]
