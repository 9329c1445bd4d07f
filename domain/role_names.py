"""Role names that are probably a slip: what differs from a role of the catalogue in case or blanks alone."""

from __future__ import annotations

from collections.abc import Iterator

from domain.catalog.model import ANY_ROLE, FREE, Catalog


def similar(catalog: Catalog, role: str) -> str | None:
    """The catalogue's role that differs from this one in case or blanks alone.

    None for a role that the catalogue names itself, and for one that is like no other.
    """
    if role in catalog.roles:
        return None
    spelling = _without_case_and_blanks(role)
    return next((known for known in catalog.roles if _without_case_and_blanks(known) == spelling), None)


def warning(catalog: Catalog, role: str) -> str | None:
    """What to tell an app whose role means a seat type by `*`, though it is spelled almost as a named one."""
    known = similar(catalog, role)
    if known is None or ANY_ROLE not in catalog.roles:
        return None
    return (
        f"The catalogue has no role {role!r}, so '{ANY_ROLE}' applies: {_meaning(catalog, ANY_ROLE)}. "
        f"It has {known!r}: {_meaning(catalog, known)}. Send that if it is meant."
    )


def warnings(catalog: Catalog) -> Iterator[str]:
    """What is probably a slip in the catalogue itself."""
    seen: dict[str, str] = {}
    for role in catalog.roles:
        twin = seen.setdefault(_without_case_and_blanks(role), role)
        if twin != role:
            yield (
                f"The roles {twin!r} ({_meaning(catalog, twin)}) and {role!r} ({_meaning(catalog, role)}) "
                "differ in case or blanks alone."
            )
        if role != role.strip():
            yield f"The role {role!r} begins or ends with a blank; only the same spelling means it."


def _meaning(catalog: Catalog, role: str) -> str:
    seat_type = catalog.roles[role]
    return FREE if seat_type is None else f"a {seat_type} seat"


def _without_case_and_blanks(role: str) -> str:
    return "".join(role.split()).lower()
