"""The accounts by name, for all whose tokens may see the same ones: what pages show, and what people may type.

Names are not unique, and they change: addresses and forms of our own have the numbers. Layer: below `sessions`.
"""

from __future__ import annotations

import asyncio
import re
import time
import unicodedata
from collections import defaultdict
from contextlib import suppress

from console_svc.web.forms import BadValue
from console_svc.web.language import text
from console_svc.web.paging import taken
from console_svc.web.values import number_of
from contentgen import Account, AsyncContentGenerationClient, RequestError

FRESH_INTERVAL = 10.0
"""Seconds for which the names are not read again."""
READ_TIMEOUT = 2.0
"""Seconds after which a page goes on with the names of before."""
MAX_NAMED = 10_000
"""Accounts that have names here, the oldest ones; the others go by their numbers."""
MAX_OFFERED = 200
"""Accounts that a form offers; with more it takes what is typed."""
_NUMBERED = re.compile(r"(?:.*\(|#)(\d{1,18})\)?", re.DOTALL)


class AccountNames:
    def __init__(self) -> None:
        self._by_id: dict[int, Account] = {}
        self._ids: dict[str, list[int]] = {}
        """By the name as it is, and as `_folded` has it."""
        self._fresh_until = 0.0
        self._reading = asyncio.Lock()

    async def refresh(self, client: AsyncContentGenerationClient) -> None:
        """Reads the names if they are too old. Without an answer those of before stay."""
        async with self._reading:
            if time.monotonic() < self._fresh_until:
                return
            self._fresh_until = time.monotonic() + FRESH_INTERVAL
            with suppress(RequestError, TimeoutError):
                async with asyncio.timeout(READ_TIMEOUT):
                    self._know(await taken(client.iter_accounts(), MAX_NAMED))

    def forget(self) -> None:
        """Has the next page read the names, since one has changed."""
        self._fresh_until = 0.0

    def _know(self, accounts: list[Account]) -> None:
        ids: defaultdict[str, list[int]] = defaultdict(list)
        for account in accounts:
            for name in {account["name"], _folded(account["name"])}:
                ids[name].append(account["account_id"])
        self._by_id, self._ids = {account["account_id"]: account for account in accounts}, dict(ids)

    def name(self, account_id: int) -> str:
        """Returns the name; empty if it is not known."""
        account = self._by_id.get(account_id)
        return account["name"] if account else ""

    def typed(self, account_id: int) -> str:
        """Returns what people type for an account: its name, with the number where that alone would be another."""
        name = self.name(account_id)
        with suppress(ValueError):
            if not name or self.number(name) == account_id:
                return name or str(account_id)
        return f"{name} ({account_id})"

    def number(self, typed: str) -> int | None:
        """Returns the account of a number, of a name, or of both as `typed` has them; None for an empty text.

        Raises BadValue for a name that no account or that several have.
        """
        if not typed or (typed.isascii() and typed.isdigit()):
            return number_of(typed)
        ids = self._ids.get(typed.strip()) or self._ids.get(_folded(typed)) or []
        if not ids and (numbered := _NUMBERED.fullmatch(typed.strip())):
            return number_of(numbered[1])
        if not ids:
            raise BadValue(text("No account has this name. Its number would do, too."))
        if len(ids) > 1:
            problem = text("Several accounts have this name: {numbers}. Type the number.")
            raise BadValue(problem, numbers=", ".join(map(str, ids[:5])))
        return ids[0]

    @property
    def several(self) -> bool:
        return len(self._by_id) > 1

    def offered(self) -> list[Account]:
        """Returns the active accounts, to be chosen from; none if they are too many."""
        active = [account for account in self._by_id.values() if account["active"]]
        return active if len(active) <= MAX_OFFERED else []


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()
