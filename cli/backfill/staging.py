"""The stage of a dry run: what the provider showed, by account, in a scratch file, so that a business of any
size fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from cli.scratch_file import ScratchFile
from models.base import Json

_TABLES = """
CREATE TABLE subscriptions (
    place INTEGER PRIMARY KEY, id TEXT UNIQUE, account_id TEXT, customer_id TEXT, kept TEXT
);
CREATE INDEX by_account ON subscriptions (account_id, id);
"""
_PAGE = 1000


class Staging(ScratchFile):
    """Subscriptions as listed, and then each as retrieved."""

    def __init__(self) -> None:
        super().__init__(_TABLES)

    def note(self, subscription_ids: Iterable[str]) -> None:
        """The list shows these; one that it shows twice is one."""
        self._scratch.executemany(
            "INSERT OR IGNORE INTO subscriptions (id) VALUES (?)", ((one,) for one in subscription_ids)
        )

    def count(self) -> int:
        (count,) = self._scratch.execute("SELECT count(*) FROM subscriptions").fetchone()
        return int(count)

    def listed(self) -> Iterator[Sequence[str]]:
        """The ids in the order of the list, a page at a time."""
        place = 0
        while page := self._scratch.execute(
            "SELECT place, id FROM subscriptions WHERE place > ? ORDER BY place LIMIT ?", (place, _PAGE)
        ).fetchall():
            yield [name for _, name in page]
            place = page[-1][0]

    def keep(self, subscription_id: str, account_id: str, customer_id: str | None, kept: Json) -> None:
        """What a retrieve showed, the account it belongs to, and who pays for it."""
        self._scratch.execute(
            "UPDATE subscriptions SET account_id = ?, customer_id = ?, kept = ? WHERE id = ?",
            (account_id, customer_id, json.dumps(kept), subscription_id),
        )

    def has_other_customer(self, account_id: str, customer_id: str | None) -> bool:
        """Whether another customer, or one who is not known, pays for a subscription of the account."""
        others = self._scratch.execute(
            "SELECT 1 FROM subscriptions WHERE account_id = ? AND (customer_id = ?) IS NOT TRUE LIMIT 1",
            (account_id, customer_id),
        )
        return others.fetchone() is not None

    def account_ids(self) -> Iterator[Sequence[str]]:
        """The accounts by id, a page at a time."""
        after = ""
        while page := self._scratch.execute(
            "SELECT DISTINCT account_id FROM subscriptions WHERE account_id > ? ORDER BY account_id LIMIT ?",
            (after, _PAGE),
        ).fetchall():
            yield [account_id for (account_id,) in page]
            after = page[-1][0]

    def of_account(self, account_id: str) -> Sequence[Json]:
        """What was kept of the account's subscriptions, by id."""
        found = self._scratch.execute(
            "SELECT kept FROM subscriptions WHERE account_id = ? ORDER BY id", (account_id,)
        )
        return [json.loads(kept) for (kept,) in found]
