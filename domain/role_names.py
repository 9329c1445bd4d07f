"""Role names that are probably typing errors: they differ from a role of the catalogue only in case or
blanks.
"""

from __future__ import annotations

from collections.abc import Iterator

from domain.catalog.model import ANY_ROLE, FREE, Catalog


def similar(catalog: Catalog, role: str) -> str | None:
    """The catalogue's role that differs from this one only in case or blanks.

    None if the catalogue has exactly this role, or no similar one.
    """
    if role in catalog.roles:
        return None
    spelling = _without_case_and_blanks(role)
    return next((known for known in catalog.roles if _without_case_and_blanks(known) == spelling), None)


def warning(catalog: Catalog, role: str) -> str | None:
    """A warning if the role gets its seat type from `*`, although the catalogue has a similar role; else
    None.
    """
    known = similar(catalog, role)
    if known is None or ANY_ROLE not in catalog.roles:
        return None
    return (
        f"The catalogue has no role {role!r}, so '{ANY_ROLE}' applies: {_meaning(catalog, ANY_ROLE)}. "
        f"It has {known!r}: {_meaning(catalog, known)}. Send {known!r} if you mean that role."
    )


def warnings(catalog: Catalog) -> Iterator[str]:
    """Warnings about probable typing errors in the catalogue's own roles."""
    seen: dict[str, str] = {}
    for role in catalog.roles:
        twin = seen.setdefault(_without_case_and_blanks(role), role)
        if twin != role:
            yield (
                f"The roles {twin!r} ({_meaning(catalog, twin)}) and {role!r} ({_meaning(catalog, role)}) "
                "differ only in case or blanks."
            )
        if role != role.strip():
            yield f"The role {role!r} begins or ends with a blank; only the same spelling means it."


def _meaning(catalog: Catalog, role: str) -> str:
    seat_type = catalog.roles[role]
    return FREE if seat_type is None else f"a {seat_type} seat"


def _without_case_and_blanks(role: str) -> str:
    return "".join(role.split()).lower()
