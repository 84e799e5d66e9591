"""TailAttempt: what the CLI of a running attempt prints, for as long as a caller reads it (rule 25).

The caller's replica asks the worker for it, by a signal to whichever replica has its stream, again and again: a worker
forgets a tail that nobody renews. What the worker prints comes back the same way. Signals get lost, and so does output:
each piece says which bytes it stands for, so the caller is told how many are missing. Nothing is stored.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from scheduler_svc.dispatch.streams import Streams, TailOrder
from scheduler_svc.domain.errors import InvalidState, ShuttingDown, existing
from scheduler_svc.domain.ids import LeaseRef, format_task_id
from scheduler_svc.domain.lifecycle import RUNNING
from scheduler_svc.domain.task import Task
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.signals import CommitSignals, Notifier, Printed

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx

RENEW_INTERVAL = 5.0
"""Seconds between two looks at the task, each of which renews the tail."""
MIN_LOOK_INTERVAL = 0.05
"""Seconds until the first look at a task whose run is over; they double."""
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


def read_running(tx: Tx, task_key: int) -> Task:
    """Returns a task whose attempt runs. Raises NotFound, InvalidState."""
    task = _read(tx, task_key)
    if task.status not in RUNNING:
        raise InvalidState.of("the task", "tailed", task.status, sorted(RUNNING))
    return task


def _read(tx: Tx, task_key: int) -> Task:
    return existing(tx.task_reads.listed([task_key]).get(task_key), "task", format_task_id(task_key))


class Tails:
    """The tails of this replica's callers. Lives on the event loop."""

    def __init__(self, calls: Calls, streams: Streams, notifier: Notifier) -> None:
        self._calls = calls
        self._streams = streams
        self._notifier = notifier
        self._open: dict[str, asyncio.Queue[Printed | None]] = {}
        self._closed = False

    async def open(self, task_key: int, after: TailPosition | None) -> Tail | None:
        """Opens a tail of the attempt that runs. Returns None if that of `after` has ended.

        Raises NotFound, InvalidState, StoreUnavailable, ShuttingDown.
        """
        task = await self._calls.run(read_running if after is None else _read, task_key)
        if after and (after.attempt != task.attempt or task.status not in RUNNING):
            return None
        return Tail(self, task, after or TailPosition(task.attempt))

    def order(self, orders: Iterable[tuple[str, str, str, int, int]]) -> None:
        """Passes orders of callers, here or elsewhere, on to the workers that are connected here."""
        for worker_id, tail_id, lease_id, stdout, stderr in orders:
            self._streams.send_order(worker_id, TailOrder(tail_id, lease_id, stdout, stderr))

    def printed(self, pieces: Iterable[Printed]) -> None:
        """Takes what workers on other replicas sent. Most is for others."""
        for piece in pieces:
            self._put(piece)

    def received(self, piece: Printed) -> None:
        """Takes what a worker on this replica sent."""
        if not self._put(piece):
            self._notifier.notify(CommitSignals(printed=[piece]))

    def _put(self, piece: Printed) -> bool:
        if (unread := self._open.get(piece.tail_id)) is None:
            return False
        if unread.qsize() < MAX_UNREAD:
            unread.put_nowait(piece)
        return True

    def close(self) -> None:
        """Ends every tail with ShuttingDown."""
        self._closed = True
        for unread in self._open.values():
            unread.put_nowait(None)

    async def look(self, task_key: int) -> Task | None:
        return await self._calls.run(lambda tx: tx.task_reads.listed([task_key]).get(task_key))

    def ask(self, worker_id: str, order: TailOrder) -> None:
        """Asks a worker, wherever it is connected. It may get this twice, just after it has moved."""
        self._streams.send_order(worker_id, order)
        self._notifier.notify(CommitSignals(tailed=[(worker_id, *order)]))

    def join(self, tail_id: str) -> asyncio.Queue[Printed | None]:
        if self._closed:
            raise ShuttingDown
        unread = self._open[tail_id] = asyncio.Queue()
        return unread

    def leave(self, tail_id: str) -> None:
        del self._open[tail_id]


class Tail:
    """One caller's tail of one attempt."""

    def __init__(self, tails: Tails, task: Task, position: TailPosition) -> None:
        self._tails = tails
        assert task.fence is not None, "it has a lease"
        self._task = task
        self._id = uuid4().hex
        self._lease_id = LeaseRef(task.task_key, task.attempt, task.fence).lease_id
        self._position = position
        self._now = asyncio.get_running_loop().time
        self._look_at = -math.inf
        self._look_interval = MIN_LOOK_INTERVAL
        self._silent_at = self._now() + SILENCE_TIMEOUT
        self._give_up_at = math.inf
        """When it ends without the last output; infinite while the attempt runs."""
        self._run_over = False
        """Whether the worker has sent all."""

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Yields the position, then the output until the attempt has ended. Raises StoreUnavailable, ShuttingDown."""
        unread = self._tails.join(self._id)
        try:
            yield Piece(self._position)
            while (now := self._now()) < self._give_up_at:
                if now >= self._look_at:
                    await self._look()
                elif now >= self._silent_at:
                    self._silent_at = math.inf
                    yield Piece(self._position, silent=True)
                elif (piece := await self._next(unread)) is not None:
                    yield piece
        finally:
            self._tails.leave(self._id)

    async def _look(self) -> None:
        """Asks the worker once more while the attempt runs, or notes its end."""
        task = await self._tails.look(self._task.task_key)
        now = self._now()
        if task is None or task.attempt != self._task.attempt or task.status not in RUNNING:
            never_answered = not math.isinf(self._silent_at)
            self._look_at = math.inf
            self._give_up_at = now if self._run_over or never_answered else now + LAST_OUTPUT_TIMEOUT
            return
        self._look_at = now + RENEW_INTERVAL
        if self._run_over:
            self._look_at = now + min(self._look_interval, RENEW_INTERVAL)
            self._look_interval *= 2
        _, *offsets = self._position
        self._tails.ask(task.worker_id, TailOrder(self._id, self._lease_id, *offsets))

    async def _next(self, unread: asyncio.Queue[Printed | None]) -> Piece | None:
        """Returns what is new in the next piece; None if that is nothing, or something else is due first."""
        due = min(self._look_at, self._silent_at, self._give_up_at)
        try:
            async with asyncio.timeout(due - self._now()):
                printed = await unread.get()
        except TimeoutError:
            return None
        if printed is None:
            raise ShuttingDown
        return self._taken(printed)

    def _taken(self, printed: Printed) -> Piece | None:
        self._silent_at = math.inf
        if printed.ended:
            self._run_over = True
            if math.isinf(self._give_up_at):
                self._look_at = self._now()
            else:
                self._give_up_at = self._now()
        known = self._position.stderr if printed.stderr else self._position.stdout
        left_out, end = printed.offset - known, printed.offset + printed.size
        if left_out < 0 or end == known:  # it was late, and counts as left out; or it has nothing new
            return None
        self._position = self._position._replace(**{"stderr" if printed.stderr else "stdout": end})
        return Piece(self._position, printed.text, printed.stderr, left_out)
