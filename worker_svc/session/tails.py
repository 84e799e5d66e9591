"""What CLIs print, for callers who read along (rule 25): pieces of what a run keeps anyway, while they are wanted."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.outcome import printable
from worker_svc.output import Tail
from worker_svc.runner import CliRun
from worker_svc.session.leases import LeaseBook, Stage

PIECE_INTERVAL = 0.25
"""Seconds between two pieces of the same stream of a tail."""
MAX_PIECE = 1_900
"""Bytes that a piece stands for. Replaced by U+FFFD they are three times as many, which a scheduler still takes."""
TAIL_TTL = 30.0
"""Seconds for which a tail is served that nobody renews."""
MAX_TAILS = 200

_BEGUN_CODE = re.compile(rb"\x1b(?:\[[0-?]{0,20}[ -/]{0,20})?\Z")
_CONTINUATION = bytes(range(0x80, 0xC0))


@dataclass(slots=True)
class _Tail:
    """A caller's. What there is of stdout and of stderr comes in pairs."""

    lease_id: str
    offsets: list[int]
    run: CliRun | None
    over: bool
    until: float = 0.0
    due_at: list[float] = field(default_factory=lambda: [0.0, 0.0])
    answered: bool = False


class Tails:
    def __init__(self, book: LeaseBook, on_change: Callable[[], None]) -> None:
        self._book = book
        self._on_change = on_change
        self._runs: dict[str, CliRun] = {}
        self._tails: dict[str, _Tail] = {}

    def opened(self, lease_id: str, run: CliRun) -> None:
        self._runs[lease_id] = run
        for tail in self._tails.values():
            if tail.lease_id == lease_id:
                tail.run = run

    def run_over(self, lease_id: str) -> None:
        """Notes that a lease has ended: its tails get what its run still keeps, and no more."""
        self._runs.pop(lease_id, None)
        for tail in self._tails.values():
            if tail.lease_id == lease_id:
                tail.over, tail.due_at = True, [0.0, 0.0]

    def asked(self, order: pb.Tail, at: float) -> None:
        if (tail := self._tails.get(order.tail_id)) is None:
            if len(self._tails) >= MAX_TAILS:
                return
            lease, run = self._book.get(order.lease_id), self._runs.get(order.lease_id)
            over = lease is None or lease.stage is Stage.FINISHED
            tail = _Tail(order.lease_id, [order.stdout_offset, order.stderr_offset], run, over)
            self._tails[order.tail_id] = tail
        tail.until = at + TAIL_TTL
        self._on_change()

    def forget(self) -> None:
        self._tails.clear()

    def due_at(self) -> float:
        """Returns when to look for the next piece."""
        return min((due_at for tail in self._tails.values() for due_at in tail.due_at), default=inf)

    def next(self, at: float) -> pb.Output | None:
        """Returns the next piece that is due; None if there is none."""
        for tail_id, tail in list(self._tails.items()):
            if tail.until < at:
                del self._tails[tail_id]
            elif (output := self._next_of(tail, at)) is not None:
                output.tail_id, tail.answered = tail_id, True
                if output.ended:
                    del self._tails[tail_id]
                return output
        return None

    def _next_of(self, tail: _Tail, at: float) -> pb.Output | None:
        for stderr in (False, True):
            if tail.run is not None and tail.due_at[stderr] <= at:
                tail.due_at[stderr] = at if tail.over else at + PIECE_INTERVAL
                output = _piece(tail.run.streams[stderr], tail.offsets[stderr], over=tail.over)
                if output.size:
                    output.stderr, tail.offsets[stderr] = stderr, output.offset + output.size
                    return output
        if tail.over or not tail.answered:
            return pb.Output(ended=tail.over)
        return None


def _piece(printed: Tail, position: int, *, over: bool) -> pb.Output:
    """Returns what is kept from `position` on, up to where a character or a code begins that is not whole yet."""
    start, data = printed.since(position, MAX_PIECE)
    if start > position:  # a character may have lost its beginning
        whole = data.lstrip(_CONTINUATION)
        start, data = start + len(data) - len(whole), whole
    final = over and start + len(data) == printed.seen
    if not final and (code := _BEGUN_CODE.search(data)):
        data = data[: code.start()]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    return pb.Output(offset=start, size=len(data) - len(decoder.getstate()[0]), text=printable(text))
