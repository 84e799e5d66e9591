"""The search index of contents: a loop adds what is new to it, and an edit what has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler_svc.domain.watermark import Snapshot

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def unindexed(tx: Tx) -> Snapshot | None:
    """Returns which contents there may be, if not all of them are indexed."""
    if tx.search.last() <= tx.search.indexed_to():
        return None
    return tx.search.snapshot()


def index_contents(tx: Tx, settled: int, limit: int) -> None:
    """Indexes the next `limit` contents up to the id `settled`: no content appears any more that has a lower one.

    Does nothing while another replica does it.
    """
    after = tx.search.take_turn()
    if after is not None and after < settled:
        tx.search.index_next(after, settled, limit)
