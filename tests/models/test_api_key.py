"""API keys: found only by the whole key, and stored only as hashes."""

from __future__ import annotations

import pytest

from models import api_key
from models.api_key import ApiKey, Scope
from models.database import Sessions


@pytest.fixture
def key(sessions: Sessions) -> str:
    with sessions.begin() as session:
        return api_key.create(session, "backend", [Scope.READ, Scope.CLAIM])


def caller(sessions: Sessions, presented: str):
    with sessions() as session:
        return api_key.find(session, presented)


def test_a_key_is_found_with_its_scopes(sessions: Sessions, key: str):
    assert caller(sessions, key).scopes == {Scope.READ, Scope.CLAIM}


def test_the_actor_is_named_without_the_secret(sessions: Sessions, key: str):
    assert caller(sessions, key).actor == f"key:{key.split('_')[1]}"


@pytest.mark.parametrize("bend", [str.upper, str.strip, lambda key: key[:-1], lambda key: key + "A"])
def test_a_bent_key_is_no_key(sessions: Sessions, key: str, bend):
    bent = bend(key)
    assert bent == key or caller(sessions, bent) is None


def test_another_keys_secret_does_not_fit(sessions: Sessions, key: str):
    with sessions.begin() as session:
        other = api_key.create(session, "other", [Scope.ADMIN])
    _, public_id, _ = key.split("_", 2)
    assert caller(sessions, f"ss_{public_id}_{other.split('_', 2)[2]}") is None


@pytest.mark.parametrize(
    "presented", ["", "ss_", "ss_0_0", "whatever", "ss_" + "0" * 12 + "_" + "A" * 43, "ü"]
)
def test_what_is_no_key_finds_nobody(sessions: Sessions, presented: str):
    assert caller(sessions, presented) is None


def test_a_revoked_key_finds_nobody(sessions: Sessions, key: str):
    public_id = key.split("_")[1]
    with sessions.begin() as session:
        assert api_key.revoke(session, public_id)
    assert caller(sessions, key) is None


def test_revoking_twice_tells_that_nothing_was_left(sessions: Sessions, key: str):
    public_id = key.split("_")[1]
    with sessions.begin() as session:
        api_key.revoke(session, public_id)
        assert not api_key.revoke(session, public_id)


def test_the_secret_is_nowhere_in_the_row(sessions: Sessions, key: str):
    secret = key.split("_", 2)[2]
    with sessions() as session:
        row = session.get(ApiKey, key.split("_")[1])
    assert secret not in str(vars(row))
    assert secret.encode() not in row.secret_hash
