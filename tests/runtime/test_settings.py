"""Settings report everything wrong at once, by name, and show no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import SettingsError
from runtime.settings import Settings, described

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def enough(tmp_path: Path) -> dict[str, str]:
    """The least an operator must say."""
    catalog = tmp_path / "catalog.toml"
    catalog.touch()
    return {
        "DODO_PAYMENTS_API_KEY": "key",
        "DODO_PAYMENTS_WEBHOOK_KEY": SECRET,
        "SEATSYNC_CATALOG": str(catalog),
    }


def complaint(environment: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(environment)
    return str(refused.value)


def test_the_defaults_are_those_of_the_contract(enough: dict[str, str]):
    settings = Settings.from_env(enough)
    assert (settings.port, settings.sweep_seconds, settings.reconcile_seconds) == (8000, 2, 3600)
    assert (settings.verify_hours, settings.tolerance_seconds) == (24, 300)
    assert settings.provider_url == "https://test.dodopayments.com"
    assert settings.provider_rate == "40/second;240/minute"


def test_live_mode_has_its_own_address(enough: dict[str, str]):
    settings = Settings.from_env({**enough, "DODO_PAYMENTS_ENVIRONMENT": "live_mode"})
    assert settings.provider_url == "https://live.dodopayments.com"


def test_the_broker_is_redis_unless_said_otherwise(enough: dict[str, str]):
    settings = Settings.from_env({**enough, "REDIS_URL": "redis://here/0"})
    assert settings.broker_url == "redis://here/0"


def test_everything_missing_is_named_at_once():
    told = complaint({})
    for name in ("DODO_PAYMENTS_API_KEY", "DODO_PAYMENTS_WEBHOOK_KEY", "SEATSYNC_CATALOG"):
        assert f"{name}: is not set" in told


MALFORMED = {
    "DATABASE_URL": "mysql://x",
    "REDIS_URL": "localhost",
    "CELERY_BROKER_URL": "sqs://",
    "DODO_PAYMENTS_API_KEY": "a key with blanks",
    "DODO_PAYMENTS_WEBHOOK_KEY": "whsec_short",
    "DODO_PAYMENTS_ENVIRONMENT": "prod",
    "DODO_PAYMENTS_BASE_URL": "http://localhost.elsewhere.example",
    "SEATSYNC_CATALOG": "/nowhere/catalog.toml",
    "SEATSYNC_API_KEY": "short",
    "PORT": "0",
    "SEATSYNC_PROVIDER_RATE": "fast",
    "SEATSYNC_SWEEP_SECONDS": "0",
    "SEATSYNC_RECONCILE_SECONDS": "-1",
    "SEATSYNC_VERIFY_HOURS": "daily",
    "SEATSYNC_WEBHOOK_TOLERANCE_SECONDS": "5 min",
    "SEATSYNC_NOTICES_ALLOW_PRIVATE": "perhaps",
    "SEATSYNC_PROVIDER_PROXY": "proxy:3128",
}


@pytest.mark.parametrize(("name", "value"), MALFORMED.items())
def test_a_malformed_variable_is_named_with_what_it_should_be(enough: dict[str, str], name: str, value: str):
    told = complaint({**enough, name: value})
    assert name in told
    assert told.count("\n") <= 2


def test_all_malformed_variables_are_named_together(enough: dict[str, str]):
    told = complaint({**enough, **{name: MALFORMED[name] for name in ("DATABASE_URL", "PORT")}})
    assert "DATABASE_URL" in told
    assert "PORT" in told


def test_several_webhook_secrets_are_separated_by_commas(enough: dict[str, str]):
    settings = Settings.from_env({**enough, "DODO_PAYMENTS_WEBHOOK_KEY": f"{SECRET}, {SECRET},"})
    assert len(settings.webhook_secrets) == 2


@pytest.mark.parametrize("name", described())
def test_an_empty_variable_is_a_mistake(enough: dict[str, str], name: str):
    assert f"{name}: is empty" in complaint({**enough, name: ""})


def test_empty_and_malformed_variables_are_named_together(enough: dict[str, str]):
    told = complaint({**enough, "DATABASE_URL": "", "REDIS_URL": "", "PORT": "0"})
    assert [name in told for name in ("DATABASE_URL: is empty", "REDIS_URL: is empty", "PORT")] == [True] * 3


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_name_of_postgresql_means_the_driver_that_is_used(enough: dict[str, str], scheme: str):
    settings = Settings.from_env({**enough, "DATABASE_URL": f"{scheme}://u:p@host:5433/db?sslmode=require"})
    assert settings.database_url == "postgresql+psycopg://u:p@host:5433/db?sslmode=require"


def test_a_direct_address_makes_the_other_one_a_pooler_s(enough: dict[str, str]):
    urls = {"DATABASE_URL": "postgresql://pooler/db", "DATABASE_DIRECT_URL": "postgresql://server/db"}
    settings = Settings.from_env({**enough, **urls})
    assert (settings.is_pooled, settings.direct_url) == (True, "postgresql+psycopg://server/db")


def test_without_a_direct_address_there_is_no_pooler(enough: dict[str, str]):
    settings = Settings.from_env({**enough, "DATABASE_URL": "postgresql://server/db"})
    assert (settings.is_pooled, settings.direct_url) == (False, settings.database_url)


def test_an_address_that_is_named_as_the_direct_one_is_no_pooler_s(enough: dict[str, str]):
    url = "postgresql://server/db"
    settings = Settings.from_env({**enough, "DATABASE_URL": url, "DATABASE_DIRECT_URL": url})
    assert (settings.is_pooled, settings.is_declared_direct) == (False, True)


def test_a_direct_address_alone_is_refused(enough: dict[str, str]):
    told = complaint({**enough, "DATABASE_DIRECT_URL": "postgresql://server/db"})
    assert "DATABASE_DIRECT_URL: is set, and DATABASE_URL is not" in told


@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "postgresql+asyncpg", "mysql", "postgre"])
def test_other_databases_and_drivers_are_refused_with_what_is_taken(enough: dict[str, str], scheme: str):
    assert "postgresql://" in complaint({**enough, "DATABASE_URL": f"{scheme}://u:p@host/db"})


def test_no_secret_is_ever_shown(enough: dict[str, str]):
    settings = Settings.from_env({**enough, "SEATSYNC_API_KEY": "a-very-secret-bootstrap-key"})
    for secret in (SECRET, "a-very-secret-bootstrap-key"):
        assert secret not in repr(settings)
    assert "whsec_short" not in complaint({**enough, "DODO_PAYMENTS_WEBHOOK_KEY": "whsec_short"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", "postgresql://u:s3cr@t:w0rd@host/db"), ("REDIS_URL", "redis://:s3cr@t:w0rd@host/0")],
)
def test_an_address_that_cannot_be_parsed_is_refused_without_showing_its_password(
    enough: dict[str, str], name: str, value: str
):
    told = complaint({**enough, name: value.replace("@host", ":w0rd@host:s3cret")})
    assert name in told
    assert "s3cr" not in told


def test_every_setting_says_what_it_should_look_like():
    assert all(description for _, description in described().values())
