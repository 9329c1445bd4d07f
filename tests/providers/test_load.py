from datetime import timedelta

import pytest

import providers
from domain.errors import SettingsError

WORKING = {
    "base_url": "https://test.dodopayments.com",
    "api_key": "key",
    "secrets": ["whsec_" + "A" * 32],
    "tolerance": timedelta(minutes=5),
    "rate": "40/second",
}


def test_a_provider_is_found_by_its_file_name_and_bears_it():
    assert providers.load("dodo")(**WORKING).name == "dodo"


@pytest.mark.parametrize("name", ["acme", "http", "base", "", "../dodo", "os"])
def test_an_unknown_provider_is_refused_with_the_known_names(name):
    with pytest.raises(SettingsError, match=r"Known providers: dodo\."):
        providers.load(name)


@pytest.mark.parametrize(
    "broken",
    [
        {"api_key": ""},
        {"api_key": "secret\nvalue"},
        {"api_key": "secret välue"},
        {"base_url": ""},
        {"base_url": "test.dodopayments.com"},
        {"base_url": "ftp://secret.example"},
        {"base_url": "https://user:secret@example.com"},
        {"base_url": "https://example.com?secret=1"},
        {"base_url": "https://example.com:secret"},
        {"base_url": "https://[secret"},
        {"base_url": "https://example.com/\nsecret."},
        {"secrets": []},
        {"secrets": ["whsec_secret"]},
        {"rate": "0/second"},
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_the_start_and_not_shown(broken):
    with pytest.raises(SettingsError) as refusal:
        providers.load("dodo")(**(WORKING | broken))
    assert "secret v" not in refusal.value.message
    assert "secret." not in refusal.value.message
    assert "secret@" not in refusal.value.message
