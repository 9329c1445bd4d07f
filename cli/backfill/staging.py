"""Staging area of a dry run: the provider's subscriptions by account, on disk, so that any number fits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from cli.scratch_file import ScratchFile
from models.base import Json

_TABLES = """
CREATE TABLE subscriptions (
    place INTEGER PRIMARY KEY, id TEXT UNIQUE, account_id TEXT, customer_id TEXT, share TEXT
);
CREATE INDEX by_account ON subscriptions (account_id, id);
"""
_PAGE_SIZE = 1000


class Staging(ScratchFile):
    """The listed subscriptions, and what was retrieved of each."""

    def __init__(self) -> None:
        super().__init__(_TABLES)

    def add(self, subscription_ids: Iterable[str]) -> None:
        """Add listed subscriptions. Repeated ids are ignored."""
        self._scratch.executemany(
            "INSERT OR IGNORE INTO subscriptions (id) VALUES (?)", ((one,) for one in subscription_ids)
        )

    def count(self) -> int:
        """The number of listed subscriptions."""
        (count,) = self._scratch.execute("SELECT count(*) FROM subscriptions").fetchone()
        return int(count)

    def listed(self) -> Iterator[Sequence[str]]:
        """The ids in the order of the list, page by page."""
        place = 0
        while page := self._scratch.execute(
            "SELECT place, id FROM subscriptions WHERE place > ? ORDER BY place LIMIT ?", (place, _PAGE_SIZE)
        ).fetchall():
            yield [name for _, name in page]
            place = page[-1][0]

    def store(self, subscription_id: str, account_id: str, customer_id: str | None, share: Json) -> None:
        """Store the account of a retrieved subscription, its paying customer, and its share of the seats."""
        self._scratch.execute(
            "UPDATE subscriptions SET account_id = ?, customer_id = ?, share = ? WHERE id = ?",
            (account_id, customer_id, json.dumps(share), subscription_id),
        )

    def has_other_customer(self, account_id: str, customer_id: str | None) -> bool:
        """True if another or an unknown customer pays for a subscription of the account."""
        others = self._scratch.execute(
            "SELECT 1 FROM subscriptions WHERE account_id = ? AND (customer_id = ?) IS NOT TRUE LIMIT 1",
            (account_id, customer_id),
        )
        return others.fetchone() is not None

    def account_ids(self) -> Iterator[Sequence[str]]:
        """The account ids in order, page by page."""
        after = ""
        while page := self._scratch.execute(
            "SELECT DISTINCT account_id FROM subscriptions WHERE account_id > ? ORDER BY account_id LIMIT ?",
            (after, _PAGE_SIZE),
        ).fetchall():
            yield [account_id for (account_id,) in page]
            after = page[-1][0]

    def of_account(self, account_id: str) -> Sequence[Json]:
        """The stored shares of the account's subscriptions, ordered by subscription id."""
        found = self._scratch.execute(
            "SELECT share FROM subscriptions WHERE account_id = ? ORDER BY id", (account_id,)
        )
        return [json.loads(share) for (share,) in found]
