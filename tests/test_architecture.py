"""The house keeps its own rules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cli.service_processes import commands
from runtime.settings import Settings
from tests.parallel import SPREAD

HOUSE = Path(__file__).parent.parent
ROOMS = ("domain", "models", "providers", "runtime", "services", "worker", "webhook_app", "cli", "simulator")
PROCFILE = (HOUSE / "Procfile").read_text(encoding="utf-8")


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in (HOUSE / room).rglob("*.py")]


def places(pattern: str, *rooms: str) -> list[str]:
    return [
        f"{path.relative_to(HOUSE)}: {line.strip()}"
        for path in sources(*rooms)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(pattern, line)
    ]


def test_tables_and_the_ledger_never_commit():
    assert places(r"\.(commit|rollback)\(", "models", "services/ledger") == []


def test_only_the_settings_and_the_starters_of_processes_know_the_environment():
    found = places(r"os\.environ|import environ|getenv", *ROOMS)
    assert {place.split(":")[0] for place in found} <= {
        "runtime/settings.py",
        "cli/service_processes.py",
        "cli/single_process.py",
        "cli/demo/command.py",
    }


def test_no_import_hides_in_a_function():
    assert places(r"^\s+(import|from)\s+\w+.*import|^\s{4,}import ", *ROOMS) == []


def test_nothing_is_left_for_later():
    assert places(r"TODO|FIXME|XXX", *ROOMS) == []


def test_sql_is_never_put_together_from_text():
    assert places(r"(sql|text)\(\s*f[\"']", "models", "services", "worker", "webhook_app") == []


def test_the_procfile_starts_what_seatsync_up_starts(settings: Settings):
    up = {f"{one.name}: seatsync {one.name}" for one in commands(settings, {})}
    assert set(PROCFILE.splitlines()) == {*up, "release: seatsync migrate"}


def test_the_lock_files_carry_hashes_and_no_address():
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-docs.txt"):
        lock = (HOUSE / name).read_text(encoding="utf-8")
        assert "--hash=sha256:" in lock
        assert "://" not in lock


def test_every_direct_dependency_is_locked():
    pyproject = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
    wishes = {
        "requirements.txt": pyproject["project"]["dependencies"],
        "requirements-docs.txt": pyproject["dependency-groups"]["docs"],
    }
    for file, wished in wishes.items():
        lock = (HOUSE / file).read_text(encoding="utf-8")
        for wish in wished:
            name = re.split(r"[\[<>=]", wish)[0]
            assert f"\n{name}==" in lock


def test_the_hooks_before_a_commit_run_what_make_lint_runs():
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    hooks = (HOUSE / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"entry: (.*)", hooks) == [line.strip() for line in recipe.splitlines()]


@pytest.mark.parametrize("room", ROOMS)
def test_every_package_says_that_it_is_typed(room: str):
    assert (HOUSE / room / "py.typed").is_file()


@pytest.mark.parametrize("file", sorted(SPREAD))
def test_the_files_whose_tests_are_spread_over_processes_exist(file: str):
    assert (HOUSE / file).is_file()
