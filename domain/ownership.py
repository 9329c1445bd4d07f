"""Ownership: decide which account a subscription belongs to."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain import findings
from domain.catalog.model import Catalog, MetadataNames
from domain.findings import Finding
from domain.ids import is_id
from domain.snapshot import Metadata

PROOF_KEY: Final = "seatsync_proof"
"""The metadata key under which a checkout proves the account that it names."""

_VERSION: Final = "v1"
_NONCE_BYTES: Final = 16


class LinkedBy(StrEnum):
    """What links the subscription to its account, the strongest evidence first."""

    APP = "app"
    CHECKOUT = "checkout"
    METADATA = "metadata"
    OWN_ID = "own_id"


class Doubt(StrEnum):
    """Why plain metadata may not name an account."""

    NOT_ALLOWED = "not_allowed"
    OTHER_CUSTOMER = "other_customer"
    TOO_MANY_ACCOUNTS = "too_many_accounts"
    PLACED_ALREADY = "placed_already"


@dataclass(frozen=True, slots=True)
class Name:
    """The account that metadata names. `nonce` is that of a valid proof; None for plain metadata."""

    account_id: str
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The account a subscription belongs to, and what links it."""

    account_id: str
    linked_by: LinkedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A subscription's present owner, before its metadata is evaluated. `owner` is None if it has no account
    yet; `refused` are the accounts that the app refused for it.
    """

    subscription_id: str
    owner: Owner | None = None
    refused: frozenset[str] = frozenset()

    @property
    def account_id(self) -> str | None:
        return None if self.owner is None else self.owner.account_id


@dataclass(frozen=True, slots=True)
class Decision:
    """The new owner, the nonce of the proof that links it (None without a proof), and drift findings."""

    owner: Owner
    nonce: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def is_doubted(self) -> bool:
        """True if the metadata names another account, and that was not accepted."""
        return any(one.kind is findings.FindingKind.UNPROVED_ACCOUNT for one in self.findings)


def sign(secret: bytes, account_id: str) -> str:
    """A new proof for this account: `v1.NONCE.HMAC`. Only holders of the secret can make one."""
    nonce = secrets.token_hex(_NONCE_BYTES)
    return f"{_VERSION}.{nonce}.{_mac(secret, account_id, nonce)}"


def proved_nonce(secret: bytes, account_id: str, proof: str) -> str | None:
    """The nonce of the proof if it was made with this secret for this account; else None."""
    version, _, rest = proof.partition(".")
    nonce, _, mac = rest.partition(".")
    if version != _VERSION or not nonce:
        return None
    is_valid = hmac.compare_digest(mac.encode(), _mac(secret, account_id, nonce).encode())
    return nonce if is_valid else None


def named_account(metadata: Metadata | None, account_key: str | None) -> str | None:
    """The account id in the metadata; None if it is absent or malformed, or there is no `account_key`."""
    named = (metadata or {}).get(account_key) if account_key else None
    if isinstance(named, bool) or not isinstance(named, str | int):
        return None
    account_id = str(named).strip()
    return account_id if is_id(account_id) else None


def decide(
    placement: Placement, name: Name | None, catalog: Catalog, doubt_of: Callable[[str], Doubt | None]
) -> Decision:
    """Decide the owner. In this order: the app's link; a proved name; plain metadata, if `metadata_names`
    allows it; the account under the subscription's own id.

    A subscription that has an owner moves only by a proved name (or by any name, if metadata is trusted).
    Under `first`, `doubt_of` returns why plain metadata may not name an account; None if it may.
    """
    owner = placement.owner
    stays = owner or Owner(placement.subscription_id, LinkedBy.OWN_ID)
    is_refused = name is not None and name.account_id in placement.refused
    if is_refused or (owner is not None and owner.linked_by is LinkedBy.APP):
        return Decision(stays)
    if name is None:
        return Decision(stays, findings=_missing(owner, catalog))
    if name.nonce is not None:
        return Decision(Owner(name.account_id, LinkedBy.CHECKOUT), name.nonce)
    if name.account_id == stays.account_id:
        return Decision(stays)
    doubt = _doubt(owner, name, catalog.metadata_names, doubt_of)
    if doubt is None:
        return Decision(Owner(name.account_id, LinkedBy.METADATA))
    found = findings.unproved_account(_field(catalog), name.account_id, _BECAUSE[doubt])
    return Decision(stays, findings=(found,))


_BECAUSE: Final = {
    Doubt.NOT_ALLOWED: 'metadata_names = "never"',
    Doubt.OTHER_CUSTOMER: "that account has a subscription of another customer of the provider, or of one "
    "that is not known",
    Doubt.TOO_MANY_ACCOUNTS: "more new accounts were named within the hour than metadata_accounts_per_hour",
    Doubt.PLACED_ALREADY: "it belongs to another account, and plain metadata does not move it",
}


def _doubt(
    owner: Owner | None, name: Name, mode: MetadataNames, doubt_of: Callable[[str], Doubt | None]
) -> Doubt | None:
    if mode is MetadataNames.NEVER:
        return Doubt.NOT_ALLOWED
    if mode is MetadataNames.TRUSTED and (owner is None or owner.linked_by is not LinkedBy.CHECKOUT):
        return None
    return Doubt.PLACED_ALREADY if owner is not None else doubt_of(name.account_id)


def _missing(owner: Owner | None, catalog: Catalog) -> tuple[Finding, ...]:
    """A finding if the metadata no longer names the account that it named before."""
    was_named = owner is not None and owner.linked_by in (LinkedBy.METADATA, LinkedBy.CHECKOUT)
    if owner is None or not was_named or catalog.account_key is None:
        return ()
    return (findings.metadata_missing(_field(catalog), owner.account_id),)


def _field(catalog: Catalog) -> str:
    return f"metadata.{catalog.account_key}"


def _mac(secret: bytes, account_id: str, nonce: str) -> str:
    message = f"seatsync-checkout\0{_VERSION}\0{nonce}\0{account_id}"
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()
