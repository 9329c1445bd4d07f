"""The text of the README and of the manual's pages, for the tests in this folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Final

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "catalog.example.toml"

PAGES: Final = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
"""The text of each page by its path. ADRs are left out, because they describe past states."""

ALL_TEXT: Final = "\n".join(PAGES.values())

_BLOCK: Final = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> Sequence[str]:
    """The page's code blocks in this language, in order."""
    return [dedent(text) for _, found, text in _BLOCK.findall(PAGES[page]) if found == language]


def languages() -> set[str]:
    return {language for page in PAGES.values() for _, language, _ in _BLOCK.findall(page)}


def pages_with(language: str) -> Sequence[str]:
    return [page for page in PAGES if blocks(page, language)]


def commands(page: str) -> Sequence[str]:
    """The commands that the page shows at a `$` prompt."""
    lines = "".join(blocks(page, "console")).splitlines()
    return [line.removeprefix("$ ").partition("  #")[0].strip() for line in lines if line.startswith("$ ")]


def first_cells(page: str) -> set[str]:
    """The words in backticks in the first columns of the page's tables."""
    rows = re.findall(r"^\| (`[^|]*) \|", PAGES[page], re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}
