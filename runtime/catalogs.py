"""The catalogue's file: read and checked. Every mistake is reported, those of the file itself included."""

from __future__ import annotations

from pathlib import Path

from domain.catalog.model import Catalog
from domain.catalog.reader import parse
from domain.errors import CatalogError, Mistake


def load_catalog(path: Path) -> Catalog:
    """The catalogue in the file; raises `CatalogError` with every mistake in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CatalogError(str(path), [Mistake("the file", "is no UTF-8 text.")]) from None
    except OSError as error:
        raise CatalogError(str(path), [Mistake("the file", f"cannot be read: {error.strerror}.")]) from None
    return parse(text, str(path))
