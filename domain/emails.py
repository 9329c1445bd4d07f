"""E-mail addresses: which are allowed, and which spellings are the same address.

Two addresses are the same if their domains are equal by IDNA and their local parts are equal in Unicode's
composed form (NFC) and lower case. Case folding is not used: it would make `groß` and `gross` equal.
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
    """Why the address is not allowed; None if it is. The caller has checked the form `LOCAL@DOMAIN`."""
    if any(_is_invisible(character) for character in address):
        return "must not hold invisible characters, such as a zero-width space: type it again"
    try:
        _ascii_domain(address.rpartition("@")[2])
    except idna.IDNAError:
        return "must have a domain that can exist"
    return None


def address_key(address: str) -> str:
    """The common form of all spellings of an address, for comparison and never for display.

    Addresses stored before `problem_of` existed may have invisible characters; the key omits them.
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
