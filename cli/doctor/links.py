"""Checks of the links between subscriptions and accounts that come from unproved metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from cli.doctor.result import Level, Result
from domain.catalog.model import MetadataNames
from runtime.wiring import Runtime
from services.ledger import ownership
from services.ledger.ownership import SharedLink

_CHECK: Final = "links by plain metadata"
_SHOWN: Final = 20


def check(runtime: Runtime) -> Iterator[Result]:
    """Report links that a buyer may have forged; nothing if there are none."""
    if runtime.catalog.metadata_names is MetadataNames.TRUSTED:
        yield Result(
            Level.NOTE,
            _CHECK,
            'metadata_names = "trusted": anyone who can set metadata can add a subscription to any account.',
            "Do not use static payment links: their buyers can set metadata.",
        )
        return
    with suppress(SQLAlchemyError), runtime.sessions() as session:  # another check reports the database
        if links := ownership.shared_links(session, limit=_SHOWN + 1):
            yield shared(links)


def shared(links: Sequence[SharedLink]) -> Result:
    """The result for links to an account for which another customer of the provider pays too."""
    shown = ", ".join(f"{one.subscription_id} in {one.account_id}" for one in links[:_SHOWN])
    more = " and more" if len(links) > _SHOWN else ""
    return Result(
        Level.WARNING,
        _CHECK,
        f"Another customer of the provider pays for the same account: {shown}{more}.",
        "For each: confirm the link if it is right (PUT /v1/accounts/ACCOUNT_ID/subscriptions/"
        "SUBSCRIPTION_ID), or remove it (DELETE at the same path).",
    )
