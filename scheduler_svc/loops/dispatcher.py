"""The dispatcher: one a replica. It claims for all of its workers at once, when there is room and a hint of work.

A hint is a submit here, a NOTIFY from another replica, or a timer in case one was lost. Room without a hint asks
nothing of the database, so idle workers cost no query.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from scheduler_svc.application.dispatch.claim import Claimed, SessionCapacity, claim
from scheduler_svc.application.leases.streams import ReconnectOrder, Streams
from scheduler_svc.application.ports import Database
from scheduler_svc.domain.errors import LockTimeout, StatementTimeout, StoreUnavailable
from scheduler_svc.domain.fairness import URGENT
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.system import LaneState
from scheduler_svc.loops.admission import Admission
from scheduler_svc.loops.supervision import Supervision

MAX_CLAIM = URGENT
FEW_SESSIONS = 32
"""Sessions that a claim is for where little waits: those with most room. Who finds more waiting asks for more."""
BUSY_PAUSE = 0.2
"""Seconds until a session is tried again whose row somebody held."""
LOOK_INTERVAL = 10.0
RETRY = 0.5
"""Seconds after which it tries again, where somebody else held a lock that the claim needs."""


_Outcome = tuple[int, Claimed | Exception]
"""The last hint that a claim may have heeded, and what came of it."""


class Dispatcher:
    """Lives on the event loop; its transactions run in a thread of their own."""

    def __init__(
        self,
        database: Database,
        streams: Streams,
        lease_ttl: float,
        take_back: Callable[[Sequence[LeaseRef]], None],
        admission: Admission,
        *,
        supervision: Supervision | None = None,
    ) -> None:
        """`take_back` gets leases whose stream went away before it could be given them.

        `admission` fills the windows that a claim has brought low. Where one is nearly empty, the next claim waits: it
        would take of other accounts, or of a lower priority, what is this account's turn.
        """
        self._database = database
        self._streams = streams
        self._ttl = lease_ttl
        self._take_back = take_back
        self._admission = admission
        self._filling: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="lane-claim")
        self._wake = asyncio.Event()
        self._numbers = itertools.count(1)
        self._last_hint = self._seen_hint = 0
        self._may_have_work = True
        self._idle = asyncio.Event()
        """Set while no claim is under way."""
        self._idle.set()
        self._defect: Exception | None = None
        self._busy_since = 0.0
        self._quiescing = False
        self._supervision = supervision or Supervision()
        self._stopping = asyncio.Event()
        self._sessions = FEW_SESSIONS
        """How many the next claim is for."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Claims from now on."""
        running = self._supervision.run_async("dispatcher", self._run, self._stopping)
        self._task = asyncio.create_task(running, name="dispatcher")

    async def quiesce(self, within: float) -> None:
        """Claims no more; returns once what was under way is handed over, or after so many seconds."""
        self._quiescing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._idle.wait()

    async def stop(self) -> None:
        """Ends after its own claim that is under way."""
        self._stopping.set()
        if self._task is not None:
            self._wake.set()
            await self._task
        if self._filling is not None:
            await self._filling
        self._executor.shutdown(wait=False)

    def hint(self) -> None:
        """There may be something to claim."""
        self.note_hint()
        self.wake()

    def note_hint(self) -> None:
        """The same, said by any thread; `wake` is to follow on the event loop."""
        self._last_hint = next(self._numbers)

    def wake(self) -> None:
        """Looks for what was hinted at, unless a claim has done so already."""
        if self._last_hint != self._seen_hint:
            self._may_have_work = True
            self._wake.set()

    def capacity_added(self) -> None:
        """A worker has room."""
        if self._may_have_work:
            self._wake.set()

    def state(self) -> LaneState:
        """How it stands: whether a claim is under way, and since when."""
        age = 0.0 if self._idle.is_set() else time.monotonic() - self._busy_since
        return LaneState(age, math.inf)

    async def _run(self) -> None:
        """Raises what a claim failed by, where that is a defect."""
        self.hint()
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._wake.wait()
            except TimeoutError:
                self.hint()
            self._wake.clear()
            while not self._stopping.is_set() and self._may_have_work and await self.run_once():
                pass
            defect, self._defect = self._defect, None
            if defect:
                raise defect

    async def run_once(self) -> bool:
        """One claim, if there is room. Returns whether another one may find more."""
        if rooms := self._begin():
            outcome = await asyncio.get_running_loop().run_in_executor(self._executor, self._claim, rooms)
            self._end(rooms, outcome)
            return self._may_have_work
        return False

    def inline_claim(self) -> Callable[[], None] | None:
        """The next claim, for a thread that is about to commit what may be claimed; None where there can't be one.

        That thread saves the way to ours, which on an idle machine is a good part of what a claim costs. It must call
        what it was given.
        """
        loop, rooms = asyncio.get_running_loop(), self._begin()
        if not rooms:
            return None
        return lambda: _call_soon(loop, self._end, rooms, self._claim(rooms))

    def _begin(self) -> list[SessionCapacity]:
        """Those that one claim is for; empty where nobody has room, and while another claim is under way."""
        if self._quiescing or self._stopping.is_set() or self._task is None or not self._idle.is_set():
            return []
        if rooms := self._streams.capacities(asyncio.get_running_loop().time(), self._sessions):
            self._occupy()
        return rooms

    def _occupy(self) -> None:
        """No claim begins until `_quiet` is set again."""
        self._idle.clear()
        self._busy_since = time.monotonic()

    def _claim(self, rooms: Sequence[SessionCapacity]) -> _Outcome:
        hints = self._last_hint
        try:
            return hints, self._database.run(lambda tx: claim(tx, rooms, MAX_CLAIM, self._ttl))
        except Exception as error:  # noqa: BLE001 - `_end` sorts them, on the event loop
            return hints, error

    def _end(self, rooms: Sequence[SessionCapacity], outcome: _Outcome) -> None:
        self._seen_hint, claimed = outcome
        self._idle.set()
        match claimed:
            case Claimed():
                self._hand_over(claimed, {room.session_key: room.heartbeat_number for room in rooms})
                self._may_have_work = claimed.full or self._last_hint != self._seen_hint
                self._sessions = min(4 * self._sessions, MAX_CLAIM) if claimed.full else FEW_SESSIONS
                self._admission.ask(claimed.short)
                if claimed.urgent:
                    self._occupy()
                    self._filling = asyncio.create_task(self._fill(claimed.urgent), name="fill")
                elif self._may_have_work:
                    self._wake.set()
            case LockTimeout() | StatementTimeout():  # nothing was claimed
                self._may_have_work = False
                asyncio.get_running_loop().call_later(RETRY, self.hint)
            case StoreUnavailable():
                self._ask_anew(rooms)  # the timer, or the listener once it is back, will hint again
                self._may_have_work = False
            case error:
                self._may_have_work = False
                self._defect = error
                self._wake.set()

    async def _fill(self, accounts: frozenset[int]) -> None:
        """No claim before these windows are filled."""
        try:
            await self._admission.settle(accounts)
        finally:
            self._idle.set()
            if self._may_have_work:
                self._wake.set()

    def _ask_anew(self, rooms: Sequence[SessionCapacity]) -> None:
        """The claim may be committed all the same: a new hello of each worker gives back what it never got."""
        for room in rooms:
            if stream := self._streams.get(room.session_key):
                stream.send(ReconnectOrder())

    def _hand_over(self, claimed: Claimed, states: dict[int, int]) -> None:
        for session_key, grants in claimed.grants.items():
            stream = self._streams.get(session_key)
            if stream is None:
                self._take_back([grant.ref for grant in grants])
            else:
                stream.assign(states[session_key], grants)
        for session_key in claimed.closed:
            if stream := self._streams.get(session_key):
                stream.close_capacity()
        self._set_aside(claimed.busy)

    def _set_aside(self, sessions: frozenset[int]) -> None:
        """Others may have what these could not be given; they are tried again in a moment."""
        loop = asyncio.get_running_loop()
        for session_key in sessions:
            if stream := self._streams.get(session_key):
                stream.busy_until = loop.time() + BUSY_PAUSE
        if sessions:
            loop.call_later(BUSY_PAUSE, self.capacity_added)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has been closed: its workers' next hello gives back the leases
        loop.call_soon_threadsafe(call, *arguments)
