"""The watermark: all moves up to this number are settled, that is committed and visible, or never to come.

Numbers are drawn in the order of each task's moves, but committed in any order. A snapshot reads the last number drawn,
and then which transactions that have drawn one still run: whoever drew a number up to that one is among them. Once none
of these runs, all those numbers are settled. Transactions that draw none are nobody's concern. The ids of transactions
give no such order: a transaction may have its id long before it locks the task that it moves.
"""

from __future__ import annotations

from typing import NamedTuple


class Snapshot(NamedTuple):
    """The last number drawn, and then the transactions that have drawn any and still run."""

    last: int
    drawers: frozenset[str]


class Watermark:
    """Keeps the one snapshot that has not settled yet."""

    def __init__(self) -> None:
        self._unsettled: Snapshot | None = None
        self.awaited: frozenset[str] = frozenset()
        """The transactions for which it waits."""

    def settled(self, snapshot: Snapshot) -> int | None:
        """Returns the highest number that this snapshot shows to be settled, or None.

        A snapshot that does not settle its own last number is kept until a later one does: under load some transaction
        always draws, but those that drew before a given snapshot end.
        """
        if not snapshot.drawers:
            self._unsettled = None
            return snapshot.last
        kept, self._unsettled = self._unsettled or snapshot, snapshot
        self.awaited = kept.drawers & snapshot.drawers
        if not self.awaited:
            return kept.last
        self._unsettled = kept
        return None
