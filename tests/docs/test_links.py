"""Every link, file, make target and page named in README and manual exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.manual import ALL_TEXT, PAGES, ROOT

MOST_BYTES_OF_README = 6_000
FOLDERS = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "build")


def links() -> Iterator[tuple[str, str]]:
    """Each page with the targets of its links to files or headings in this repository."""
    for page, text in PAGES.items():
        for target in sorted(set(re.findall(r"\]\(((?!https?://)[^)]+)\)", text))):
            yield page, target


def anchors(page: Path) -> set[str]:
    """The URL fragments of the page's headings, as GitHub and the built site generate them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_every_link_leads_somewhere(page: str, target: str):
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    assert file.exists()
    assert not anchor or anchor in anchors(file)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`|\$ )make ([a-z]+)", ALL_TEXT))))
def test_every_make_target_exists(target: str):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(re.findall(rf"`((?:{FOLDERS})/[\w./]*)`", ALL_TEXT))))
def test_every_file_and_folder_that_is_named_exists(name: str):
    assert (ROOT / name).exists()


def test_the_readme_is_short():
    assert len(PAGES["README.md"].encode()) <= MOST_BYTES_OF_README


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "docs").glob("*.md")))
def test_every_page_is_in_the_table_of_contents(page: str):
    assert page == "index" or re.search(rf"^{page}$", PAGES["docs/index.md"], re.MULTILINE)
