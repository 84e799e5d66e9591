"""The watermark: all moves up to this number are settled, that is committed and visible, or never to come.

Numbers are drawn in the order of each task's moves, but committed in any order. A transaction gets its id before it
draws a number. A snapshot reads the last number drawn, and then takes a transaction id of its own: whoever drew a
number up to that one has a lower id. Once no transaction with a lower id runs, all those numbers are settled.
"""

from __future__ import annotations

from typing import NamedTuple


class Snapshot(NamedTuple):
    """The last number drawn, then the snapshot's own transaction id, then the oldest transaction still running.

    The snapshot's own transaction runs too, so `oldest` equals `own` if no older one runs.
    """

    last: int
    own: int
    oldest: int


class Watermark:
    """Keeps the one snapshot that has not settled yet."""

    def __init__(self) -> None:
        self._unsettled: Snapshot | None = None

    def settled(self, snapshot: Snapshot) -> int | None:
        """Returns the highest number that this snapshot shows to be settled, or None.

        A snapshot that does not settle its own last number is kept until a later one does: under load some transaction
        is always older than the newest snapshot, but those older than a given snapshot end.
        """
        if snapshot.oldest >= snapshot.own:
            self._unsettled = None
            return snapshot.last
        kept, self._unsettled = self._unsettled or snapshot, snapshot
        if snapshot.oldest >= kept.own:
            return kept.last
        self._unsettled = kept
        return None
