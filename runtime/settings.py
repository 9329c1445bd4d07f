"""Settings: the only reader of the environment. All missing and malformed variables are reported together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from domain.errors import SettingsError
from providers.dodo.urls import BASE_URLS
from providers.rate_limit.budget import parse_rate
from providers.signature import parse_secret

_IPV6: Final = 6
_LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}
_OWN_PREFIX: Final = "SEATSYNC_"

# PostgreSQL's own two names for its addresses; both mean the one driver that the service uses.
_POSTGRES: Final = re.compile(r"postgres(ql)?://")
_DRIVER: Final = "postgresql+psycopg://"


def _starts_with(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if not url.startswith(schemes):
            raise ValueError(f"should begin with {' or '.join(schemes)}")
        return url

    return AfterValidator(check)


def _parsable(url: str) -> str:
    """Checked here, because the errors of the libraries that parse it later would show the password."""
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(
            "has no usable port: percent-encode characters such as @ and : in a password"
        ) from None
    return url


def _with_driver(url: str) -> str:
    return _POSTGRES.sub(_DRIVER, url, count=1) if _POSTGRES.match(url) else url


def _encrypted_or_local(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("should begin with https:// (http:// is allowed for this machine only)")
    return url


def _address(text: str) -> str:
    try:
        address = ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError("is not an IP address") from None
    if text != (f"[{address}]" if address.version == _IPV6 else str(address)):
        raise ValueError("is not written as in a URL, such as 127.0.0.1 or [::1]")
    return text


def _existing_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _parts(text: object) -> object:
    return tuple(filter(None, map(str.strip, text.split(",")))) if isinstance(text, str) else text


def _secret(secret: SecretStr) -> SecretStr:
    try:
        parse_secret(secret.get_secret_value())
    except SettingsError as error:
        raise ValueError(error.message) from None
    return secret


def _header_text(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{1,512}", secret.get_secret_value()):
        raise ValueError("is not 1 to 512 visible ASCII characters without blanks")
    return secret


def _rate(text: str) -> str:
    try:
        parse_rate(text)
    except SettingsError as error:
        raise ValueError(error.message) from None
    return text


def _proxy(secret: SecretStr) -> SecretStr:
    """A `SecretStr`, and checked without its value in the message, because it contains a password."""
    parts = urlsplit(_parsable(secret.get_secret_value()))
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
        raise ValueError("is not of the form http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")
    return secret


Seconds = Annotated[float, Field(ge=0.05, le=86_400)]
DatabaseUrl = Annotated[
    str,
    _starts_with("postgresql://", "postgres://", _DRIVER),
    AfterValidator(_parsable),
    AfterValidator(_with_driver),
]
RedisUrl = Annotated[str, _starts_with("redis://", "rediss://"), AfterValidator(_parsable)]
BrokerUrl = Annotated[str, _starts_with("redis://", "rediss://", "amqp://", "amqps://")]
HttpUrl = Annotated[str, AfterValidator(_encrypted_or_local)]
CatalogPath = Annotated[Path, AfterValidator(_existing_file)]


class Settings(BaseModel):
    """All settings. The field descriptions say what a value should look like."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    database_url: DatabaseUrl | None = Field(
        None,
        alias="DATABASE_URL",
        description="PostgreSQL, postgresql://user:password@host/name; unset: an embedded server",
    )
    database_direct_url: DatabaseUrl | None = Field(
        None,
        alias="DATABASE_DIRECT_URL",
        description="PostgreSQL itself, if DATABASE_URL leads through a pooler such as PgBouncer; unset: it "
        "does not",
    )
    redis_url: RedisUrl | None = Field(
        None, alias="REDIS_URL", description="Redis, redis://host:6379/0; unset: an embedded server"
    )
    celery_broker_url: BrokerUrl | None = Field(
        None,
        alias="CELERY_BROKER_URL",
        description="the broker, redis://... or amqp://... (RabbitMQ); unset: REDIS_URL",
    )
    api_key: Annotated[SecretStr, AfterValidator(_header_text)] = Field(
        alias="DODO_PAYMENTS_API_KEY",
        description="the provider's API key; one without write access is enough",
    )
    webhook_secrets: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(_secret)], ...], BeforeValidator(_parts)
    ] = Field(
        alias="DODO_PAYMENTS_WEBHOOK_KEY",
        description="the webhook signing secret, whsec_...; several, newest first, separated by commas",
        min_length=1,
    )
    environment: Annotated[str, Field(pattern="^(test_mode|live_mode)$")] = Field(
        "test_mode", alias="DODO_PAYMENTS_ENVIRONMENT", description="test_mode or live_mode"
    )
    base_url: HttpUrl | None = Field(
        None,
        alias="DODO_PAYMENTS_BASE_URL",
        description="the provider's API, https://...; unset: the one of DODO_PAYMENTS_ENVIRONMENT",
    )
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = Field(
        None,
        alias="SEATSYNC_PROVIDER_PROXY",
        description="an HTTP proxy before the provider's API, http://user:password@host:3128; unset: none",
    )
    business_id: str | None = Field(
        None,
        alias="DODO_PAYMENTS_BUSINESS_ID",
        description="your business at the provider, bus_...; deliveries of others are ignored",
    )
    catalog: CatalogPath = Field(
        alias="SEATSYNC_CATALOG", description="the path of the catalogue, a TOML file"
    )
    bootstrap_key: SecretStr | None = Field(
        None,
        alias="SEATSYNC_API_KEY",
        description="an API key with all scopes, at least 16 characters, for the first steps",
        min_length=16,
    )
    home: Path = Field(
        Path(".seatsync"), alias="SEATSYNC_HOME", description="where embedded servers keep their data"
    )
    bind: Annotated[str, AfterValidator(_address)] = Field(
        "127.0.0.1",
        alias="SEATSYNC_BIND",
        description="the address the web process listens on, as in a URL: 127.0.0.1, 0.0.0.0 or [::]",
    )
    port: int = Field(8000, alias="PORT", ge=1, le=65_535, description="the port of the web process")
    provider_rate: Annotated[str, AfterValidator(_rate)] = Field(
        "40/second;240/minute",
        alias="SEATSYNC_PROVIDER_RATE",
        description="the provider's allowance, as in 40/second;240/minute",
    )
    sweep_seconds: Seconds = Field(
        2, alias="SEATSYNC_SWEEP_SECONDS", description="seconds between two sweeps of what is due"
    )
    reconcile_seconds: Seconds = Field(
        3600, alias="SEATSYNC_RECONCILE_SECONDS", description="seconds between two passes over the list"
    )
    verify_hours: Annotated[float, Field(ge=0.001, le=24 * 30)] = Field(
        24, alias="SEATSYNC_VERIFY_HOURS", description="hours within which each subscription is retrieved"
    )
    missing_days: Annotated[float, Field(ge=0, le=3650)] = Field(
        30,
        alias="SEATSYNC_MISSING_DAYS",
        description="days for which a subscription that the provider no longer knows keeps its seats",
    )
    tolerance_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        300,
        alias="SEATSYNC_WEBHOOK_TOLERANCE_SECONDS",
        description="seconds by which a delivery's timestamp may be off, either way",
    )

    notices_allow_private: bool = Field(
        False,
        alias="SEATSYNC_NOTICES_ALLOW_PRIVATE",
        description="true or false: whether notices may go to private addresses, and without https",
    )

    @field_validator("database_direct_url")
    @classmethod
    def _needs_a_pooler(cls, direct_url: str | None, info: ValidationInfo) -> str | None:
        if direct_url is not None and info.data.get("database_url", "faulty") is None:
            raise ValueError("is set, and DATABASE_URL is not")
        return direct_url

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings. Raises `SettingsError`, which names every faulty variable, and never its value.

        An empty variable is an error. Taken as unset, it would select a default that was not meant, such as
        an embedded server.
        """
        empty = {name: _EMPTY for name in described() if environment.get(name) == ""}
        try:
            settings = cls.model_validate({name: value for name, value in environment.items() if value})
        except ValidationError as error:
            raise SettingsError(_explain(_faults(error) | empty)) from None
        if empty:
            raise SettingsError(_explain(empty))
        return settings

    @property
    def local_url(self) -> str:
        """The URL of the web process for callers on this machine."""
        on_this_machine = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  nothing is bound here
        return f"http://{on_this_machine.get(self.bind, self.bind)}:{self.port}"

    @property
    def provider_url(self) -> str:
        return (self.base_url or BASE_URLS[self.environment]).rstrip("/")

    @property
    def is_pooled(self) -> bool:
        """True if DATABASE_URL leads through a connection pooler: PostgreSQL itself has another address."""
        return self.database_direct_url not in (None, self.database_url)

    @property
    def is_declared_direct(self) -> bool:
        """True if the operator says, with DATABASE_DIRECT_URL, that `direct_url` is PostgreSQL itself."""
        return self.database_direct_url is not None

    @property
    def direct_url(self) -> str | None:
        """The address of PostgreSQL itself, for migrations and for locks that outlast a transaction."""
        return self.database_direct_url or self.database_url

    @property
    def broker_url(self) -> str | None:
        return self.celery_broker_url or self.redis_url

    @property
    def verify_every(self) -> timedelta:
        return timedelta(hours=self.verify_hours)

    @property
    def missing_term(self) -> timedelta:
        return timedelta(days=self.missing_days)

    @property
    def tolerance(self) -> timedelta:
        return timedelta(seconds=self.tolerance_seconds)

    def with_servers(self, *, database_url: str, redis_url: str) -> Self:
        """The same settings with the addresses of these servers."""
        return self.model_copy(update={"database_url": database_url, "redis_url": redis_url})


def described() -> Mapping[str, tuple[str, str]]:
    """Each variable with its default and its description. A test compares docs/settings.md with it."""
    return {
        str(field.alias): ("required" if field.is_required() else str(field.default), field.description or "")
        for field in Settings.model_fields.values()
    }


def unknown_variables(environment: Mapping[str, str] = os.environ) -> Mapping[str, str | None]:
    """Variables that begin with `SEATSYNC_` but are no settings, each with the setting that has a similar
    name, or None.
    """
    known = {name.removeprefix(_OWN_PREFIX): name for name in described()}
    unknown = {name for name in environment if name.startswith(_OWN_PREFIX)} - set(known.values())
    return {name: _nearest(name.removeprefix(_OWN_PREFIX), known) for name in sorted(unknown)}


def _nearest(name: str, known: Mapping[str, str]) -> str | None:
    return next((known[near] for near in get_close_matches(name, known, n=1)), None)


_EMPTY: Final = "is empty; unset it or give it a value"


def _faults(error: ValidationError) -> dict[str, str]:
    """The first fault of each variable."""
    faults: dict[str, str] = {}
    for fault in error.errors(include_input=False, include_url=False):
        name = str(fault["loc"][0]) if fault["loc"] else ""
        problem = "is not set" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
        faults.setdefault(name, problem)
    return faults


def _explain(faults: Mapping[str, str]) -> str:
    known = described()
    lines = ["These environment variables need attention:"]
    for name, problem in faults.items():
        lines.append(f"  {name}: {problem}" if name else f"  {problem}")
        if name in known:
            lines.append(f"    it should be {known[name][1]}")
    return "\n".join(lines)
