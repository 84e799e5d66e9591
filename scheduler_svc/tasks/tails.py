"""TailAttempt: what the CLI of a running attempt prints, for as long as a caller reads it (rule 25).

The caller's replica asks the worker for it, by a signal to whichever replica has its stream, again and again: a worker
forgets a tail that nobody renews. What the worker prints comes back the same way. Signals get lost, and so does output:
each piece says which bytes it stands for, so the caller is told how many are missing. Nothing is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple
from uuid import uuid4

from scheduler_svc.dispatch.streams import Streams, TailOrder
from scheduler_svc.domain.errors import InvalidState, ShuttingDown, existing
from scheduler_svc.domain.ids import LeaseRef, format_task_id
from scheduler_svc.domain.lifecycle import RUNNING
from scheduler_svc.domain.task import Task
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.signals import CommitSignals, Notifier, Printed

RENEW_INTERVAL = 5.0
"""Seconds between two looks at the task, each of which renews the tail."""
LAST_LOOK_INTERVAL = 0.2
"""The same once the run is over: its report is still to be committed."""
SILENCE_TIMEOUT = 10.0
"""Seconds without any answer of the worker until the caller is told."""
LAST_OUTPUT_TIMEOUT = 2.0
"""Seconds for which an attempt's last output may arrive after its end was committed."""
MAX_UNREAD = 200
"""Pieces that wait for a caller; beyond it they are left out."""


class TailPosition(NamedTuple):
    """Up to where a caller knows the output of an attempt, in bytes."""

    attempt: int
    stdout: int = 0
    stderr: int = 0


class Piece(NamedTuple):
    """What a caller gets next, and its position after it."""

    position: TailPosition
    text: str = ""
    stderr: bool = False
    left_out: int = 0
    silent: bool = False


@dataclass(slots=True)
class _Tail:
    """A caller's. Times are the loop's, in seconds; infinite: never."""

    position: TailPosition
    silent_at: float
    look_at: float = 0.0
    end_at: float = inf
    run_over: bool = False
    """Whether the worker has sent all."""
    id: str = field(default_factory=lambda: uuid4().hex)
    unread: asyncio.Queue[Printed | None] = field(default_factory=asyncio.Queue)


class Tails:
    """The tails of this replica's callers. Lives on the event loop."""

    def __init__(self, calls: Calls, streams: Streams, notifier: Notifier) -> None:
        self._calls = calls
        self._streams = streams
        self._notifier = notifier
        self._open: dict[str, _Tail] = {}
        self._closed = False

    async def follow(self, task_key: int, after: TailPosition | None) -> AsyncGenerator[Piece, None]:
        """Yields the position at once, then the output of the attempt that runs, until it has ended.

        Raises NotFound, InvalidState (unless it follows the attempt of `after`), StoreUnavailable, ShuttingDown.
        """
        task = existing(await self._read(task_key), "task", format_task_id(task_key))
        if after is None and task.status not in RUNNING:
            raise InvalidState.of("the task", "tailed", task.status, sorted(RUNNING))
        now = asyncio.get_running_loop().time
        tail = _Tail(after or TailPosition(task.attempt), now() + SILENCE_TIMEOUT)
        if not _runs(tail, task):
            return
        self._open[tail.id] = tail
        try:
            yield Piece(tail.position)
            while now() < tail.end_at:
                if now() >= tail.look_at:
                    self._looked(tail, await self._read(task_key), now())
                elif now() >= tail.silent_at:
                    tail.silent_at = inf
                    yield Piece(tail.position, silent=True)
                elif (piece := await self._next(tail)) is not None:
                    yield piece
        finally:
            del self._open[tail.id]

    async def _read(self, task_key: int) -> Task | None:
        return await self._calls.run(lambda tx: tx.task_reads.listed([task_key]).get(task_key))

    def _looked(self, tail: _Tail, task: Task | None, now: float) -> None:
        """Asks the worker once more while the attempt runs, or notes its end."""
        if task is None or not _runs(tail, task):
            waits = tail.silent_at == inf and not tail.run_over
            tail.look_at, tail.end_at = inf, now + LAST_OUTPUT_TIMEOUT * waits
        elif tail.run_over:
            tail.look_at = now + LAST_LOOK_INTERVAL
        else:
            tail.look_at = now + RENEW_INTERVAL
            assert task.fence is not None, "it has a lease"
            lease_id = LeaseRef(task.task_key, task.attempt, task.fence).lease_id
            order = (task.worker_id, tail.id, lease_id, tail.position.stdout, tail.position.stderr)
            self.order([order])
            self._notifier.notify(CommitSignals(tailed=[order]))

    async def _next(self, tail: _Tail) -> Piece | None:
        """Returns the next piece; None if it has nothing new, or something else is due first."""
        if self._closed:
            raise ShuttingDown
        try:
            async with asyncio.timeout_at(min(tail.look_at, tail.silent_at, tail.end_at)):
                printed = await tail.unread.get()
        except TimeoutError:
            return None
        return printed and _taken(tail, printed, asyncio.get_running_loop().time())

    def order(self, orders: Iterable[tuple[str, str, str, int, int]]) -> None:
        """Passes what callers anywhere ask for on to the workers that are connected here."""
        for worker_id, tail_id, lease_id, stdout, stderr in orders:
            self._streams.send_order(worker_id, TailOrder(tail_id, lease_id, stdout, stderr))

    def printed(self, pieces: Iterable[Printed]) -> None:
        """Takes what workers on other replicas sent. Most is for others."""
        for piece in pieces:
            if (tail := self._open.get(piece.tail_id)) and tail.unread.qsize() < MAX_UNREAD:
                tail.unread.put_nowait(piece)

    def received(self, piece: Printed) -> None:
        """Takes what a worker on this replica sent."""
        if piece.tail_id in self._open:
            self.printed([piece])
        else:
            self._notifier.notify(CommitSignals(printed=[piece]))

    def close(self) -> None:
        """Ends every tail with ShuttingDown."""
        self._closed = True
        for tail in self._open.values():
            tail.unread.put_nowait(None)


def _runs(tail: _Tail, task: Task) -> bool:
    return task.attempt == tail.position.attempt and task.status in RUNNING


def _taken(tail: _Tail, printed: Printed, now: float) -> Piece | None:
    """Returns a piece for the caller. Returns None if it was late, and counts as left out, or has nothing new."""
    tail.silent_at = inf
    if printed.ended:
        tail.run_over = True
        if tail.end_at == inf:
            tail.look_at = now
        else:
            tail.end_at = now
    known = tail.position.stderr if printed.stderr else tail.position.stdout
    left_out, end = printed.offset - known, printed.offset + printed.size
    if left_out < 0 or end == known:
        return None
    tail.position = tail.position._replace(**{"stderr" if printed.stderr else "stdout": end})
    return Piece(tail.position, printed.text, printed.stderr, left_out)
