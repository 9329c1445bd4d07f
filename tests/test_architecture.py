"""The repository follows its own rules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cli.service_processes import commands
from runtime.settings import Settings
from tests.parallel import SPREAD

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "domain",
    "models",
    "providers",
    "runtime",
    "services",
    "worker",
    "webhook_app",
    "cli",
    "simulator",
)
PROCFILE = (ROOT / "Procfile").read_text(encoding="utf-8")


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in (ROOT / package).rglob("*.py")]


def places(pattern: str, *packages: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sources(*packages)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(pattern, line)
    ]


def test_models_and_the_ledger_never_commit():
    assert places(r"\.(commit|rollback)\(", "models", "services/ledger") == []


def test_only_the_settings_and_the_code_that_starts_processes_read_the_environment():
    found = places(r"os\.environ|import environ|getenv", *PACKAGES)
    assert {place.split(":")[0] for place in found} <= {
        "runtime/settings.py",
        "cli/service_processes.py",
        "cli/single_process.py",
        "cli/demo/command.py",
    }


def test_all_imports_are_at_the_top_of_their_file():
    assert places(r"^\s+(import|from)\s+\w+.*import|^\s{4,}import ", *PACKAGES) == []


def test_no_todo_is_left_in_the_code():
    assert places(r"TODO|FIXME|XXX", *PACKAGES) == []


def test_sql_is_never_built_from_f_strings():
    assert places(r"(sql|text)\(\s*f[\"']", "models", "services", "worker", "webhook_app") == []


def test_the_procfile_starts_what_seatsync_up_starts(settings: Settings):
    processes = dict(line.split(": seatsync ") for line in PROCFILE.splitlines())
    assert processes.keys() == {*(one.name for one in commands(settings, {})), "release"}
    assert processes.pop("syncs") == "worker --only-syncs"
    assert processes.pop("release") == "migrate"
    assert all(name == command for name, command in processes.items())


def test_the_lock_files_contain_hashes_and_no_urls():
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-docs.txt"):
        lock = (ROOT / name).read_text(encoding="utf-8")
        assert "--hash=sha256:" in lock
        assert "://" not in lock


def test_every_direct_dependency_is_locked():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    dependencies = {
        "requirements.txt": pyproject["project"]["dependencies"],
        "requirements-docs.txt": pyproject["dependency-groups"]["docs"],
    }
    for file, requirements in dependencies.items():
        lock = (ROOT / file).read_text(encoding="utf-8")
        for requirement in requirements:
            name = re.split(r"[\[<>=]", requirement)[0]
            assert f"\n{name}==" in lock


def test_the_hooks_before_a_commit_run_what_make_lint_runs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"entry: (.*)", hooks) == [line.strip() for line in recipe.splitlines()]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(package: str):
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("file", sorted(SPREAD))
def test_the_files_whose_tests_are_spread_over_processes_exist(file: str):
    assert (ROOT / file).is_file()
