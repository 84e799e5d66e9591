"""The workers' streams of this replica: what each of them may be given, and what is to be sent to it.

Lives on the event loop. Nothing here matters once the replica is gone: leases are rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from scheduler_svc.application.dispatch.capacities import SessionCapacities
from scheduler_svc.application.dispatch.claim import SessionCapacity
from scheduler_svc.application.records import Grant
from scheduler_svc.domain.errors import ShuttingDown
from scheduler_svc.domain.lease import Capacity, Outcome
from scheduler_svc.domain.worker import DesiredState, Heartbeat

MAX_ASSIGNMENT = 500
MAX_ASSIGNMENT_BYTES = 2 * 1024 * 1024
MAX_UNSENT_ASSIGNMENTS = 4
"""Assignments that may wait for a worker to read: beyond them it is granted nothing."""
MAX_UNSENT_ORDERS = 1_000
"""Messages that may wait for a worker to read: beyond them it is sent no commands, which are only short cuts."""
_GRANT_OVERHEAD = 400


@dataclass(frozen=True, slots=True)
class Assign:
    """New leases."""

    number: int
    heartbeat_number: int
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class AcknowledgeHeartbeat:
    """A state is committed."""

    heartbeat_number: int
    not_renewed: tuple[str, ...]
    skipped: tuple[str, ...]
    desired_state: DesiredState
    names: int = 0
    """How many leases the state named."""


@dataclass(frozen=True, slots=True)
class AcknowledgeReport:
    """A report is committed: an outcome for each (lease id, attempt)."""

    report_number: int
    outcomes: tuple[tuple[str, int, Outcome], ...]

    @property
    def names(self) -> int:
        """How many updates the report held."""
        return len(self.outcomes)


@dataclass(frozen=True, slots=True)
class PartReceived:
    """A part of a report is there; `received` bytes of it came so far."""

    report_number: int
    received: int
    names: int = 0


@dataclass(frozen=True, slots=True)
class CancelLease:
    """Stop this lease."""

    lease_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PollOrder:
    """Ask the CLIs now."""

    poll: int


@dataclass(frozen=True, slots=True)
class ResizeOrder:
    """Change the number of slots."""

    slots: int


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """Finish what runs, take nothing new."""


@dataclass(frozen=True, slots=True)
class ReconnectOrder:
    """Dial another replica."""


Order = CancelLease | PollOrder | ResizeOrder | DrainOrder | ReconnectOrder
Answered = AcknowledgeHeartbeat | AcknowledgeReport | PartReceived
Outgoing = Assign | Answered | Order


class WorkerStream:
    """One open session's stream: its capacity, and its messages in order."""

    def __init__(
        self,
        worker_id: str,
        session_key: int,
        relieved: Callable[[], None] = lambda: None,
        *,
        heeds_skipped: bool = False,
    ) -> None:
        """`relieved` is called when it is crowded no more. `heeds_skipped`: as its hello says."""
        self.worker_id = worker_id
        self.session_key = session_key
        self.heeds_skipped = heeds_skipped
        self.capacity = Capacity()
        self.unhealthy = False
        """Whether its CLI fails or is gone, as its newest state says. With room it is half open."""
        self._relieved = relieved
        self._assignments = 0
        self.busy_until = 0.0
        """Until then (seconds of the loop's clock) it is given nothing: somebody holds its session's row."""
        self.room_changed: Callable[[WorkerStream], None] = _nobody_asks
        self._unsent: list[Outgoing] = []  # an asyncio.Queue takes 3 KB, and most workers are idle
        self._more: asyncio.Future[None] | None = None

    def heartbeat(self, state: Heartbeat, lapses_at: float) -> None:
        """A state is committed: it says what may be granted, until `lapses_at` (seconds of the loop's clock)."""
        self.capacity.heartbeat(state.number, state.free_slots, state.last_assignment, lapses_at)
        if state.number == self.capacity.heartbeat_number:
            self.unhealthy = state.unhealthy
        self.room_changed(self)

    def close_capacity(self) -> None:
        """Its session may be given nothing more, until it states otherwise."""
        self.capacity.free_slots = 0
        self.room_changed(self)

    def assign(self, heartbeat_number: int, grants: Sequence[Grant]) -> None:
        """Sends leases that are committed, in as many messages as they need."""
        for part in _parts(grants):
            self.send(Assign(self.capacity.assigned(len(part)), heartbeat_number, tuple(part)))
        self.room_changed(self)

    def send(self, message: Outgoing) -> None:
        """Sends it after those before it."""
        self._unsent.append(message)
        self._assignments += isinstance(message, Assign)
        if self._more and not self._more.done():
            self._more.set_result(None)

    async def next(self) -> Outgoing:
        """What is to be sent next, once there is something. For one caller, who writes to the stream."""
        while not self._unsent:
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        message = self._unsent.pop(0)
        if isinstance(message, Assign):
            self._assignments -= 1
            if self._assignments == MAX_UNSENT_ASSIGNMENTS - 1:
                self._relieved()
        return message

    def order(self, command: Order) -> None:
        """The same for a command, unless too much waits: its worker learns of it with an acknowledgement."""
        if len(self._unsent) < MAX_UNSENT_ORDERS:
            self.send(command)

    @property
    def crowded(self) -> bool:
        """Whether its worker does not read what it is granted. It is granted nothing meanwhile."""
        return self._assignments >= MAX_UNSENT_ASSIGNMENTS

    def unsent(self) -> list[Outgoing]:
        """What was never handed to the stream; it sends nothing more."""
        unsent, self._unsent, self._assignments = self._unsent, [], 0
        return unsent


def _nobody_asks(_stream: WorkerStream) -> None:
    """Of a stream that no replica has added yet."""


def _parts(grants: Sequence[Grant]) -> Iterator[list[Grant]]:
    part: list[Grant] = []
    size = 0
    for grant in grants:
        own = _size(grant)
        if part and (len(part) >= MAX_ASSIGNMENT or size + own > MAX_ASSIGNMENT_BYTES):
            yield part
            part, size = [], 0
        part.append(grant)
        size += own
    if part:
        yield part


def _size(grant: Grant) -> int:
    """At least as many bytes as it takes in a message."""
    maps = (grant.labels, grant.brief.creator_options)
    entries = [text for pairs in maps if pairs for item in pairs.items() for text in item]
    texts = (*grant.brief.texts, *entries)
    return _GRANT_OVERHEAD + sum(len(text) if text.isascii() else 4 * len(text) for text in texts)


class Streams:
    """All streams of this replica, by session and by worker."""

    def __init__(self) -> None:
        self._by_session: dict[int, WorkerStream] = {}
        self._by_worker: dict[str, WorkerStream] = {}
        self._hellos: dict[str, list[list[Order]]] = {}
        self._rooms = SessionCapacities()
        self._closed = False

    @contextmanager
    def hello(self, worker_id: str) -> Iterator[list[Order]]:
        """A hello of this worker is under way. Collects what it is told meanwhile, for the stream that comes of it.

        Only what does no harm if it is from before the hello: a drain might be its predecessor's.
        """
        told: list[Order] = []
        self._hellos.setdefault(worker_id, []).append(told)
        try:
            yield told
        finally:
            self._hellos[worker_id].remove(told)
            if not self._hellos[worker_id]:
                del self._hellos[worker_id]

    def add(self, stream: WorkerStream) -> None:
        """The stream's session is open. Raises ShuttingDown."""
        if self._closed:
            raise ShuttingDown
        self._by_session[stream.session_key] = stream
        newest = self._by_worker.get(stream.worker_id)
        if newest is None or newest.session_key < stream.session_key:
            self._by_worker[stream.worker_id] = stream
        stream.room_changed = self._note_room
        self._note_room(stream)

    def _note_room(self, stream: WorkerStream) -> None:
        if self._by_session.get(stream.session_key) is stream:
            self._rooms.put(stream.session_key, stream.capacity.remaining, first=stream.unhealthy)

    def remove(self, stream: WorkerStream) -> None:
        """The stream is gone."""
        self._by_session.pop(stream.session_key, None)
        self._rooms.remove(stream.session_key)
        if self._by_worker.get(stream.worker_id) is stream:
            del self._by_worker[stream.worker_id]

    def get(self, session_key: int) -> WorkerStream | None:
        """The stream of a session, if it is here and open."""
        return self._by_session.get(session_key)

    def capacities(self, now: float, most: int) -> list[SessionCapacity]:
        """Who would take something now: the `most` emptiest of them, after those that are half open.

        Of each worker its newest session, since that has replaced the others.
        """
        rooms: list[SessionCapacity] = []
        lapsed: list[int] = []
        for session_key in self._rooms:
            stream = self._by_session[session_key]
            if not (free := stream.capacity.free(now)):
                lapsed.append(session_key)
            elif self._may_be_given(stream, now):
                state = stream.capacity.heartbeat_number
                rooms.append(SessionCapacity(stream.worker_id, session_key, state, free, stream.unhealthy))
            if len(rooms) == most:
                break
        for session_key in lapsed:
            self._rooms.remove(session_key)
        return rooms

    def _may_be_given(self, stream: WorkerStream, now: float) -> bool:
        newest = self._by_worker.get(stream.worker_id) is stream
        return newest and not stream.crowded and stream.busy_until <= now

    def tell(self, worker_id: str, command: Order) -> None:
        """Sends a command, where the worker is connected to this replica."""
        if stream := self._by_worker.get(worker_id):
            stream.order(command)
        if isinstance(command, CancelLease | PollOrder):
            for told in self._hellos.get(worker_id, ()):
                told.append(command)

    def send_away(self) -> None:
        """Tells every worker to dial another replica, and takes no further stream."""
        self._closed = True
        for stream in self._by_session.values():
            stream.send(ReconnectOrder())

    def __len__(self) -> int:
        return len(self._by_session)
