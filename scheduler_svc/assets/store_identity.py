"""Which store the assets of a database are in: a store has an id, and the first asset that is stored writes it down.

So a replica with another folder or bucket notices before it reads or writes there, and does not serve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from scheduler_svc.assets.objects import Objects
from scheduler_svc.domain.errors import AssetStoreUnavailable
from scheduler_svc.runtime.calls import Calls

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


INTERVAL = 10.0
_FORGET = "UPDATE asset_store SET store_id = NULL"

_log = structlog.get_logger(__name__)


def claim(tx: Tx, store_id: str) -> None:
    """Notes that an asset is stored there. Raises AssetStoreUnavailable if the others are in another store."""
    expected = tx.assets.store_id() or tx.assets.claim_store(store_id)
    if expected != store_id:
        raise AssetStoreUnavailable(f"the assets are in store {expected}, and this is {store_id}")


class StoreIdentity:
    """Lives on the event loop. `problem` says what to set if the assets are in another store; else it is empty."""

    def __init__(self, calls: Calls, objects: Objects, location: str, changed: Callable[[str], None]) -> None:
        """`location` is the setting; `changed` is called with `problem` when that changes."""
        self._calls = calls
        self._objects = objects
        self._location = location
        self._changed = changed
        self.problem = ""

    async def id_for_upload(self) -> str:
        """The store's id, before an object is written. Raises AssetStoreUnavailable if it is not the right one."""
        expected = await self._calls.run(_expected)
        store_id = await self._objects.run(lambda store: store.identity(create=expected is None))
        if expected is not None:
            self._compare(expected, store_id)
        if self.problem or store_id is None:
            raise AssetStoreUnavailable(self.problem)
        return store_id

    async def run_once(self) -> float:
        """Compares the two ids; returns the seconds until the next time. A store that is away changes nothing."""
        expected = await self._calls.run(_expected)
        try:
            store_id = None if expected is None else await self._objects.run(lambda store: store.identity())
        except AssetStoreUnavailable:
            return INTERVAL
        self._compare(expected, store_id)
        return INTERVAL

    def _compare(self, expected: str | None, store_id: str | None) -> None:
        problem = ""
        if store_id != expected:
            problem = (
                f"CONTENTGEN_ASSETS={self._location} is {f'store {store_id}' if store_id else 'a new store'}, and the"
                f" assets of this database are in store {expected}: set it to the folder or bucket that the other"
                f" schedulers use, or copy that one with its store-id; if it is lost, {_FORGET} (docs/deployment.md,"
                " Pictures and other files)"
            )
        if problem != self.problem:
            self.problem = problem
            if problem:
                _log.error(problem, action="assets")
            self._changed(problem)


def _expected(tx: Tx) -> str | None:
    return tx.assets.store_id()
