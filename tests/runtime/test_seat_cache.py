"""The seat cache: a shadow that never shows the past over the present, and never stands in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from runtime.embedded import RedisServer
from runtime.seat_cache import SeatCache
from runtime.wiring import redis_client


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = redis_client(redis_url)
    yield client
    client.close()


@pytest.fixture
def cache(client: redis.Redis) -> SeatCache:
    return SeatCache(client)


def test_what_was_filled_is_found(cache: SeatCache):
    cache.fill("acme", 7, b"seven")
    assert cache.get("acme").document == b"seven"


def test_an_older_version_never_overwrites_a_newer_one(cache: SeatCache):
    cache.fill("acme", 7, b"seven")
    cache.fill("acme", 6, b"six")
    assert cache.get("acme").document == b"seven"


def test_after_a_commit_the_older_document_is_gone(cache: SeatCache):
    cache.fill("acme", 7, b"seven")
    cache.invalidate({"acme": 8})
    assert cache.get("acme") is None


def test_a_slow_reader_cannot_store_an_old_document(cache: SeatCache):
    cache.invalidate({"acme": 8})
    cache.fill("acme", 7, b"seven")
    assert cache.get("acme") is None


def test_a_document_of_the_committed_version_is_stored(cache: SeatCache):
    cache.invalidate({"acme": 8})
    cache.fill("acme", 8, b"eight")
    assert cache.get("acme").document == b"eight"


def test_versions_compare_as_numbers_however_many_digits_they_have(cache: SeatCache):
    cache.fill("acme", 10**15, b"late")
    cache.fill("acme", 99, b"early")
    assert cache.get("acme").version == 10**15


def test_every_entry_expires_within_seconds(cache: SeatCache, client: redis.Redis):
    cache.fill("acme", 1, b"one")
    cache.note_account("sub_1", "acme")
    assert all(0 < client.pttl(key) <= 12_000 for key in client.scan_iter())


def test_accounts_have_entries_of_their_own(cache: SeatCache):
    cache.fill("acme", 1, b"one")
    assert cache.get("acme2") is None


def test_a_moved_subscription_is_forgotten(cache: SeatCache):
    cache.note_account("sub_1", "acme")
    cache.forget_account_of("sub_1")
    assert cache.account_of("sub_1") is None


def test_without_redis_nothing_is_found_and_nothing_raised():
    cache = SeatCache(redis_client("redis://127.0.0.1:9/0"))
    cache.fill("acme", 1, b"one")
    cache.invalidate({"acme": 2})
    assert cache.get("acme") is None


def test_while_redis_is_unreachable_only_one_caller_a_second_waits_for_it(tmp_path, monkeypatch):
    with RedisServer(tmp_path, durable=False) as server:
        client = redis_client(server.url)
        cache = SeatCache(client)
        server.kill()
    asked = []
    monkeypatch.setattr(client, "get", lambda key: asked.append(key) or _refuse())
    for _ in range(5):
        cache.get("acme")
    assert len(asked) == 1


def test_when_redis_is_back_the_cache_is_used_again(cache: SeatCache, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as away:
        away.setattr(cache._client, "get", lambda _key: _refuse())
        cache.get("acme")
    later = time.monotonic() + 5
    monkeypatch.setattr(time, "monotonic", lambda: later)
    cache.fill("acme", 1, b"one")
    assert cache.get("acme").document == b"one"


def _refuse():
    raise redis.ConnectionError
