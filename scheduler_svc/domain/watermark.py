"""Up to which number the moves of tasks are settled: committed and visible, or never to come.

Numbers are drawn in the order of each task's moves, but committed in any order. A transaction has its id before it
draws a number. So a look reads the last number drawn, and then takes an id of its own: whoever drew a number up to
that one has a lower id, and once no transaction with a lower id runs, all those numbers are settled.
"""

from __future__ import annotations

from typing import NamedTuple


class Snapshot(NamedTuple):
    """The last number drawn; after that the look's own transaction id; after that the oldest one still running.

    The own transaction runs too, so `oldest` is `own` where nobody older runs.
    """

    last: int
    own: int
    oldest: int


class Watermark:
    """What looks have found so far."""

    def __init__(self) -> None:
        self._unsettled: Snapshot | None = None

    def settled(self, snapshot: Snapshot) -> int | None:
        """The highest number that is known to be settled by this look; None where it does not show any.

        A look that does not settle its own last number is kept until a later one does: under load there is always
        some transaction that is older than the newest look, but those older than a certain look end.
        """
        if snapshot.oldest >= snapshot.own:
            self._unsettled = None
            return snapshot.last
        kept, self._unsettled = self._unsettled or snapshot, snapshot
        if snapshot.oldest >= kept.own:
            return kept.last
        self._unsettled = kept
        return None
