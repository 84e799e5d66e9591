"""The dispatcher: one a replica. It claims for all of its workers at once, when there is room and a hint of work.

A hint is a submit here, a NOTIFY from another replica, or a timer in case one was lost. Room without a hint asks
nothing of the database, so idle workers cost no query.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from scheduler_svc.application.dispatch import Claimed, Room, claim
from scheduler_svc.application.ports import Database
from scheduler_svc.application.streams import ReconnectOrder, Streams
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.domain.fairness import URGENT
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.loops.admission import Admission

MAX_CLAIM = URGENT
LOOK_INTERVAL = 10.0

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Lives on the event loop; its transactions run in a thread of their own."""

    def __init__(
        self,
        database: Database,
        streams: Streams,
        lease_ttl: float,
        take_back: Callable[[Sequence[LeaseRef]], None],
        admission: Admission,
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
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="lane-claim")
        self._wake = asyncio.Event()
        self._hints = 0
        self._hopeful = True
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Claims from now on."""
        self._task = asyncio.create_task(self._run(), name="dispatcher")

    async def stop(self) -> None:
        """Ends after the claim that is under way."""
        if self._task is not None:
            task, self._task = self._task, None
            self._wake.set()
            await task
        self._executor.shutdown(wait=False)

    def hint(self) -> None:
        """There may be something to claim."""
        self._hints += 1
        self._hopeful = True
        self._wake.set()

    def room(self) -> None:
        """A worker has room."""
        if self._hopeful:
            self._wake.set()

    async def _run(self) -> None:
        while self._task is not None:
            try:
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._wake.wait()
            except TimeoutError:
                self.hint()
            self._wake.clear()
            while self._task is not None and self._hopeful and await self.run_once():
                pass

    async def run_once(self) -> bool:
        """One claim, if there is room. Returns whether another one may find more."""
        loop = asyncio.get_running_loop()
        rooms = self._streams.rooms(loop.time())
        if not rooms:
            return False
        hints = self._hints
        states = {room.session_key: room.state_number for room in rooms}
        try:
            claimed = await loop.run_in_executor(self._executor, self._claim, rooms)
        except StoreUnavailable:
            self._ask_anew(rooms)
            return False  # the timer, or the listener once it is back, will hint again
        except Exception:  # noqa: BLE001 - a defect of ours must not end the dispatch of everything else
            _log.exception("claim failed", action="claim")
            return False
        self._hand_over(claimed, states)
        self._admission.ask(claimed.short)
        if claimed.urgent:
            await self._admission.settle(claimed.urgent)
        self._hopeful = claimed.full or self._hints != hints
        return self._hopeful

    def _ask_anew(self, rooms: Sequence[Room]) -> None:
        """The claim may be committed all the same: a new hello of each worker gives back what it never got."""
        for room in rooms:
            if stream := self._streams.get(room.session_key):
                stream.outgoing.put_nowait(ReconnectOrder())

    def _claim(self, rooms: Sequence[Room]) -> Claimed:
        return self._database.run(lambda tx: claim(tx, rooms, MAX_CLAIM, self._ttl))

    def _hand_over(self, claimed: Claimed, states: dict[int, int]) -> None:
        for session_key, grants in claimed.grants.items():
            stream = self._streams.get(session_key)
            if stream is None:
                self._take_back([grant.ref for grant in grants])
            else:
                stream.assign(states[session_key], grants)
        for session_key in claimed.closed:
            if stream := self._streams.get(session_key):
                stream.capacity.free_slots = 0
