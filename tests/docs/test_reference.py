"""The manual lists every setting, command, call, error, notice, metric and catalogue key, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import click
import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from cli.main import cli
from domain import errors, policies, provider_errors
from domain.catalog.reader import parse
from domain.findings import FindingKind, Uncountable
from domain.notices import NoticeType
from domain.statuses import DEFAULT_EFFECTS, StatusEffect
from providers.dodo.refusals import REFUSALS
from runtime.settings import described
from tests.cli.commands import names
from tests.docs.manual import ALL_TEXT, EXAMPLE, PAGES, ROOT, commands, first_cells
from tests.webhook_app.conftest import anyone, app, apps, client, open_door, wake_ups  # noqa: F401  fixtures
from tests.webhook_app.contract import documented
from webhook_app import problems
from webhook_app.auth import needed_scope

# Errors that end a process or are base classes: no caller of the API sees their codes.
NOT_ANSWERED: Final = {
    errors.SeatSyncError,
    errors.SettingsError,
    errors.CatalogError,
    errors.NamespaceUnknown,
    provider_errors.ProviderError,
    errors.Refused,
    provider_errors.ChangeRefused,
    provider_errors.CartRefused,
}
# Codes without a class in `domain.errors`: the code writes them as they are here.
OF_HTTP: Final = {
    "bad_request",
    "cart_differs",
    "change_refused",
    "database_unavailable",
    "expectation_failed",
    "internal_error",
    "invalid_request",
    "method_not_allowed",
    "missing_scope",
    "not_implemented",
    "not_ready",
    "not_stored",
    "path_not_passed",
    "path_unreadable",
    "request_entity_too_large",
    "request_header_fields_too_large",
    "unauthorized",
    "unsupported_media_type",
    "uri_too_long",
}


def kinds(root: type[errors.SeatSyncError]) -> Iterator[type[errors.SeatSyncError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


# Settings and commands.


def test_the_settings_are_all_described_and_no_others():
    assert {word for word in first_cells("docs/settings.md") if word.isupper()} == set(described())


@pytest.mark.parametrize("name", sorted(described()))
def test_the_shown_default_of_a_setting_is_its_default(name: str):
    found = re.search(rf"^\| `{name}` \| ([^|]*) \|", PAGES["docs/settings.md"], re.MULTILINE)
    shown, default = found[1].strip("`"), described()[name][0]
    in_words = {"None": {"embedded", "none", "any", "by environment", "REDIS_URL"}}
    assert shown.lower() in {word.lower() for word in in_words.get(default, {default})}


@pytest.mark.parametrize("name", sorted(names(cli)))
def test_every_command_is_named(name: str):
    assert f"seatsync {name}" in ALL_TEXT


def shown_commands() -> list[str]:
    typed = [command for page in PAGES for command in commands(page) if command.startswith("seatsync ")]
    return sorted({*typed, *re.findall(r"`(seatsync [^`]+)`", ALL_TEXT)})


@pytest.mark.parametrize("shown", shown_commands())
def test_every_shown_command_and_option_exists(shown: str):
    words = shown.partition(" > ")[0].split()[1:]
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None
        command = found
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


# The API.


def test_every_call_is_listed_with_its_scope(app: Flask):  # noqa: F811
    listed = re.findall(
        r"^\| `([A-Z]+) (/\S+)` \| `?(\w+)`? \|", PAGES["docs/api-reference.md"], re.MULTILINE
    )
    served = [
        (method, documented(rule.rule), scope.value if scope else "none")
        for rule in app.url_map.iter_rules()
        if rule.rule != "/openapi.json"
        for scope in [needed_scope(app.view_functions[rule.endpoint])]
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    ]
    assert sorted(listed) == sorted(served)


def listed_codes() -> set[str]:
    return {word for word in first_cells("docs/api-reference.md") if re.fullmatch(r"[a-z_]+", word)}


def answered() -> set[type[errors.SeatSyncError]]:
    """The errors with one fixed code and status. The codes in `REFUSALS` are checked separately."""
    ours = {
        kind
        for kind in kinds(errors.SeatSyncError)
        if kind.__module__ in {"domain.errors", "domain.provider_errors"}
    }
    return {*ours, Uncountable} - NOT_ANSWERED


def test_every_error_code_is_listed_and_no_other():
    refused = {refusal.code for refusal in REFUSALS.values()}
    assert listed_codes() == {kind.code for kind in answered()} | refused | OF_HTTP


@pytest.mark.parametrize("kind", sorted(answered(), key=lambda kind: kind.code))
def test_an_error_is_listed_with_its_status(kind: type[errors.SeatSyncError]):
    status = next(problems._STATUS[base] for base in kind.__mro__ if base in problems._STATUS)
    row = rf"^\| [^|]*`{kind.code}`[^|]* \| {status.value} \|"
    assert re.search(row, PAGES["docs/api-reference.md"], re.MULTILINE)


@pytest.mark.parametrize("code", sorted(set(re.findall(r"(?:40\d|422|503) `([a-z_]+)`", ALL_TEXT))))
def test_a_code_named_in_the_text_is_listed(code: str):
    assert code in listed_codes()


@pytest.mark.parametrize("kind", list(NoticeType))
def test_every_notice_is_described(kind: NoticeType):
    assert kind.value in first_cells("docs/notices.md")


def test_no_other_notice_is_described():
    described_there = {
        word for word in first_cells("docs/notices.md") if re.fullmatch(r"[a-z]+\.[a-z_]+", word)
    }
    assert described_there == set(NoticeType)


# Operating.


@pytest.mark.parametrize("kind", list(FindingKind))
def test_every_kind_of_finding_is_described(kind: FindingKind):
    assert kind.value in first_cells("docs/operations.md")


def test_every_metric_is_described_and_no_other(anyone):  # noqa: F811
    served = text_string_to_metric_families(anyone.get("/metrics").text)
    described_there = {word for word in first_cells("docs/operations.md") if word.startswith("seatsync_")}
    assert described_there == {
        f"{family.name}_total" if family.type == "counter" else family.name for family in served
    }


def test_every_process_is_described():
    procfile = (ROOT / "Procfile").read_text(encoding="utf-8")
    assert {line.partition(":")[0] for line in procfile.splitlines()} <= first_cells("docs/operations.md")


# The catalogue.


def test_every_key_of_the_catalogue_is_described():
    text = re.sub(r"^#(?=\S)", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    parse(text, EXAMPLE.name)
    sections = re.split(r"^\[(\w+)[^\]]*\]$", text, flags=re.MULTILINE)
    tables = zip(sections[1::2], sections[2::2], strict=True)
    keys = {
        key
        for name, body in tables
        if name in {"defaults", "products", "free", "contracts"}
        for key in re.findall(r"^([a-z_]+)(?:\.\w+)? = ", body, re.MULTILINE)
    }
    described_there = {re.sub(r"\.ID$", "", word) for word in first_cells("docs/catalogue.md")}
    assert {key for key in described_there if key.isidentifier()} == keys


@pytest.mark.parametrize("policy", policies.names())
def test_every_policy_is_described(policy: str):
    assert policy in first_cells("docs/limits.md")


@pytest.mark.parametrize(("status", "effect"), sorted(DEFAULT_EFFECTS.items()))
def test_every_status_is_described_with_its_effect(status: str, effect: StatusEffect):
    assert re.search(rf"^\| [^|]*`{status}`[^|]* \| `{effect}` \|", PAGES["docs/limits.md"], re.MULTILINE)
