"""The links between subscriptions and accounts: which rest on plain metadata where that may be wrong."""

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

_WHAT: Final = "links by plain metadata"
_SHOWN: Final = 20


def check(runtime: Runtime) -> Iterator[Result]:
    """Links that a buyer may have made up; nothing is reported if there are none."""
    if runtime.catalog.metadata_names is MetadataNames.TRUSTED:
        yield Result(
            Level.NOTE,
            _WHAT,
            'metadata_names = "trusted": anybody who can set metadata can join any account.',
            "Have no static payment links: on these every buyer sets metadata.",
        )
        return
    with suppress(SQLAlchemyError), runtime.sessions() as session:  # another check reports the database
        if links := ownership.shared_links(session, limit=_SHOWN + 1):
            yield shared(links)


def shared(links: Sequence[SharedLink]) -> Result:
    """The links that share an account with another customer of the provider."""
    shown = ", ".join(f"{one.subscription_id} in {one.account_id}" for one in links[:_SHOWN])
    more = " and more" if len(links) > _SHOWN else ""
    return Result(
        Level.WARNING,
        _WHAT,
        f"In an account that another customer of the provider pays for too: {shown}{more}.",
        "Link each if it is right (PUT /v1/accounts/ACCOUNT_ID/subscriptions/SUBSCRIPTION_ID), or refuse it "
        "(DELETE at the same address).",
    )
