"""Read the catalogue from its file."""

from __future__ import annotations

from pathlib import Path

from domain.catalog.model import Catalog
from domain.catalog.reader import parse
from domain.errors import CatalogError, Mistake


def load_catalog(path: Path) -> Catalog:
    """Read and check the catalogue. Raises `CatalogError` with all its mistakes, or if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CatalogError(str(path), [Mistake("the file", "is not UTF-8 text.")]) from None
    except OSError as error:
        raise CatalogError(str(path), [Mistake("the file", f"cannot be read: {error.strerror}.")]) from None
    return parse(text, str(path))
