"""E-mail addresses: which may be used, and which two spellings are one address.

Equal are addresses whose domains are one by IDNA and whose local parts are one in Unicode's composed form
(NFC) and in lower case. Case folding would go too far: it makes `groß` and `gross` one.
"""

from __future__ import annotations

from typing import Final
from unicodedata import normalize

import idna

# Characters that show nothing though their category is that of letters, marks or symbols: the rest of what
# Unicode calls default ignorable (DerivedCoreProperties.txt), and the blank braille pattern.
_INVISIBLE: Final = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)


def problem_of(address: str) -> str | None:
    """What keeps the address from being used; None for a good one. `LOCAL@DOMAIN` is taken for granted."""
    if any(_is_invisible(character) for character in address):
        return "must not hold invisible characters, such as a zero-width space: type it again"
    try:
        _ascii_domain(address.rpartition("@")[2])
    except idna.IDNAError:
        return "must have a domain that can exist"
    return None


def address_key(address: str) -> str:
    """The spelling that all spellings of one address have in common, for comparing and never for showing.

    An address from before `problem_of` was asked has a key as well, in which nothing is invisible.
    """
    visible = "".join(character for character in address.strip() if not _is_invisible(character))
    local, _, domain = visible.rpartition("@")
    try:
        ascii_domain = _ascii_domain(domain)
    except idna.IDNAError:
        ascii_domain = _lower(domain)
    return f"{_lower(local)}@{ascii_domain}"


def _is_invisible(character: str) -> bool:
    """True for controls, format characters (Cf), what Unicode has not assigned, and what shows nothing."""
    return not (character.isprintable() or character.isspace()) or character in _INVISIBLE


def _ascii_domain(domain: str) -> str:
    if domain.isascii():
        return domain.lower().removesuffix(".")
    return idna.encode(domain, uts46=True).decode().removesuffix(".")


def _lower(text: str) -> str:
    return normalize("NFC", normalize("NFC", text).lower())
