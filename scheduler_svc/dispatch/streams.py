"""The lease streams of this replica's workers: their capacity, and the messages to be sent.

Sessions are kept by capacity, so that a claim finds the few with the most without reading thousands of them. The
backlog of a stream is bounded: a worker that does not read its answers costs no more. All of it lives on the event
loop, and nothing outlives the replica: leases are rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from scheduler_svc.dispatch.routing import Routes
from scheduler_svc.dispatch.work import SessionCapacity
from scheduler_svc.domain.errors import ShuttingDown
from scheduler_svc.domain.lease import Capacity, Grant, Outcome
from scheduler_svc.domain.worker import DesiredState, Heartbeat

_Group = tuple[bool, int]
"""Whether its sessions come first, and the capacity of each."""


class SessionCapacities:
    """Sessions with capacity, in groups of equal capacity."""

    def __init__(self) -> None:
        self._groups: dict[_Group, dict[int, None]] = {}
        self._group_of: dict[int, _Group] = {}

    def put(self, session_key: int, free: int, *, first: bool = False) -> None:
        """Sets a session's free slots; 0 removes it. `first`: it comes before all others."""
        group = first, free
        if self._group_of.get(session_key) == group:
            return
        self.remove(session_key)
        if free > 0:
            self._group_of[session_key] = group
            self._groups.setdefault(group, {})[session_key] = None

    def remove(self, session_key: int) -> None:
        group = self._group_of.pop(session_key, None)
        if group is None:
            return
        sessions = self._groups[group]
        del sessions[session_key]
        if not sessions:
            del self._groups[group]

    def __iter__(self) -> Iterator[int]:
        """Yields the `first` sessions, then by falling capacity; among equals, the longest unchanged comes first."""
        for group in sorted(self._groups, reverse=True):
            yield from self._groups[group]


MAX_MESSAGES = 64
MAX_NAMES = 10_000
"""Leases named by heartbeats, and updates of reports. A heartbeat of so many takes 4 MB until its answer is sent."""


class StreamBacklog:
    """The messages of a stream that were read and not answered."""

    def __init__(self) -> None:
        self._messages = self._names = 0
        self._less: asyncio.Future[None] | None = None  # an asyncio.Event takes 700 bytes, and most workers are idle

    async def enter(self, names: int) -> None:
        """Waits until a message with so many names fits; a single message always does. For one reader."""
        while self._messages and (self._messages >= MAX_MESSAGES or self._names + names > MAX_NAMES):
            self._less = asyncio.get_running_loop().create_future()
            await self._less
        self._messages += 1
        self._names += names

    def leave(self, names: int) -> None:
        self._messages -= 1
        self._names -= names
        if self._less and not self._less.done():
            self._less.set_result(None)


MAX_ASSIGNMENT = 500
MAX_ASSIGNMENT_BYTES = 2 * 1024 * 1024
MAX_UNSENT_ASSIGNMENTS = 4
"""Unsent assignments of a worker; at this number it is granted nothing more."""
MAX_UNSENT_ORDERS = 1_000
"""Unsent messages of a worker; at this number orders, which only speed things up, are dropped."""
_GRANT_OVERHEAD = 400


@dataclass(frozen=True, slots=True)
class Assign:
    number: int
    heartbeat_number: int
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class AcknowledgeHeartbeat:
    heartbeat_number: int
    not_renewed: tuple[str, ...]
    skipped: tuple[str, ...]
    desired_state: DesiredState
    names: int = 0


@dataclass(frozen=True, slots=True)
class AcknowledgeReport:
    """The report is committed, with an outcome for each (lease id, attempt)."""

    report_number: int
    outcomes: tuple[tuple[str, int, Outcome], ...]

    @property
    def names(self) -> int:
        return len(self.outcomes)


@dataclass(frozen=True, slots=True)
class PartReceived:
    """A part of a report has arrived; `received`: bytes of it so far."""

    report_number: int
    received: int
    names: int = 0


@dataclass(frozen=True, slots=True)
class OutputReceived:
    """An output has arrived."""


@dataclass(frozen=True, slots=True)
class CancelLease:
    lease_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PollOrder:
    poll: int


@dataclass(frozen=True, slots=True)
class ResizeOrder:
    slots: int


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """Finish what runs, take nothing new."""


@dataclass(frozen=True, slots=True)
class ReconnectOrder:
    """Connect to another replica."""


class TailOrder(NamedTuple):
    """Send what a lease's CLI prints, from these bytes of stdout and stderr on."""

    tail_id: str
    lease_id: str
    stdout: int
    stderr: int


Order = CancelLease | PollOrder | ResizeOrder | DrainOrder | ReconnectOrder | TailOrder
Answered = AcknowledgeHeartbeat | AcknowledgeReport | PartReceived
Outgoing = Assign | Answered | OutputReceived | Order


TAIL_TTL = 30.0
"""Seconds for which the output of a tail is taken after its last order."""


class WorkerStream:
    """One open session's stream: its capacity, and its unsent messages in order."""

    def __init__(
        self,
        worker_id: str,
        session_key: int,
        on_relieved: Callable[[], None] = lambda: None,
        *,
        accepts_skipped: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """`on_relieved` is called when it is crowded no more. `accepts_skipped` and `labels`: as in its hello."""
        self.worker_id = worker_id
        self.session_key = session_key
        self.accepts_skipped = accepts_skipped
        self.labels = labels or {}
        self.selectors: tuple[int, ...] = ()
        """The worker selectors that its labels match, once it is added."""
        self.capacity = Capacity()
        self.tails: dict[str, float] = {}
        """When the tails that its worker was asked for end (seconds of the loop's clock)."""
        self.unhealthy = False
        """Whether its CLI fails or is missing, by its newest heartbeat. With capacity, its breaker is half-open."""
        self._on_relieved = on_relieved
        self._assignments = 0
        self.busy_until = 0.0
        """It is granted nothing until then (seconds of the loop's clock): its session's row is locked."""
        self.capacity_changed: Callable[[WorkerStream], None] = lambda _: None  # until the stream is added
        self._unsent: list[Outgoing] = []  # an asyncio.Queue takes 3 KB, and most workers are idle
        self._more: asyncio.Future[None] | None = None

    def heartbeat(self, heartbeat: Heartbeat, expires_at: float) -> None:
        """Takes a committed heartbeat, whose capacity holds until `expires_at` (seconds of the loop's clock)."""
        self.capacity.heartbeat(heartbeat.number, heartbeat.free_slots, heartbeat.last_assignment, expires_at)
        if heartbeat.number == self.capacity.heartbeat_number:
            self.unhealthy = heartbeat.unhealthy
        self.capacity_changed(self)

    def close_capacity(self) -> None:
        """Grants its session nothing more until the next heartbeat."""
        self.capacity.free_slots = 0
        self.capacity_changed(self)

    def assign(self, heartbeat_number: int, grants: Sequence[Grant]) -> None:
        """Sends committed leases, in as many messages as they need."""
        for part in _parts(grants):
            self.send(Assign(self.capacity.assigned(len(part)), heartbeat_number, tuple(part)))
        self.capacity_changed(self)

    def send(self, message: Outgoing) -> None:
        self._unsent.append(message)
        self._assignments += isinstance(message, Assign)
        if self._more and not self._more.done():
            self._more.set_result(None)

    async def next(self) -> Outgoing:
        """Waits for the next message. For one caller, which writes to the stream."""
        while not self._unsent:
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        message = self._unsent.pop(0)
        if isinstance(message, Assign):
            self._assignments -= 1
            if self._assignments == MAX_UNSENT_ASSIGNMENTS - 1:
                self._on_relieved()
        return message

    def order(self, command: Order) -> None:
        """Sends an order, unless too much is unsent: the worker then learns of it by an acknowledgement."""
        if len(self._unsent) >= MAX_UNSENT_ORDERS:
            return
        if isinstance(command, TailOrder):
            now = asyncio.get_running_loop().time()
            self.tails = {tail_id: end for tail_id, end in self.tails.items() if end > now}
            self.tails[command.tail_id] = now + TAIL_TTL
        self.send(command)

    @property
    def crowded(self) -> bool:
        """Whether its worker does not read its assignments. It is granted nothing meanwhile."""
        return self._assignments >= MAX_UNSENT_ASSIGNMENTS

    def take_unsent(self) -> list[Outgoing]:
        """Returns the messages that were not sent, and drops them."""
        unsent, self._unsent, self._assignments = self._unsent, [], 0
        return unsent


def _parts(grants: Sequence[Grant]) -> Iterator[list[Grant]]:
    part: list[Grant] = []
    size = 0
    for grant in grants:
        grant_size = _size(grant)
        if part and (len(part) >= MAX_ASSIGNMENT or size + grant_size > MAX_ASSIGNMENT_BYTES):
            yield part
            part, size = [], 0
        part.append(grant)
        size += grant_size
    if part:
        yield part


def _size(grant: Grant) -> int:
    """Returns an upper bound of the grant's bytes in a message."""
    texts = grant.brief.texts
    for pairs in (grant.labels, grant.brief.creator_options):
        if pairs:
            texts += (*pairs, *pairs.values())
    text = "".join(texts)
    return _GRANT_OVERHEAD + (len(text) if text.isascii() else 4 * len(text))


class Streams:
    def __init__(self) -> None:
        self._by_session: dict[int, WorkerStream] = {}
        self._by_worker: dict[str, WorkerStream] = {}
        self._hellos: dict[str, list[list[Order]]] = {}
        self._routes = Routes()
        self._capacities: dict[tuple[int, ...], SessionCapacities] = {(): SessionCapacities()}
        """By the worker selectors that the labels of their workers match; the ones longest without a claim come first.
        """
        self._closed = False

    @contextmanager
    def hello(self, worker_id: str) -> Iterator[list[Order]]:
        """Collects the orders to a worker while its hello is under way, for the stream that follows.

        Only orders that do no harm if they are older than the hello: a drain might be meant for the session before.
        """
        orders: list[Order] = []
        self._hellos.setdefault(worker_id, []).append(orders)
        try:
            yield orders
        finally:
            self._hellos[worker_id].remove(orders)
            if not self._hellos[worker_id]:
                del self._hellos[worker_id]

    def add(self, stream: WorkerStream) -> None:
        if self._closed:
            raise ShuttingDown
        self._by_session[stream.session_key] = stream
        newest = self._by_worker.get(stream.worker_id)
        if newest is None or newest.session_key < stream.session_key:
            self._by_worker[stream.worker_id] = stream
        stream.selectors = self._routes.matched_by(stream.labels)
        stream.capacity_changed = self._note_capacity
        self._note_capacity(stream)

    def route(self, selectors: Iterable[tuple[int, Mapping[str, str]]]) -> None:
        """Takes the worker selectors that there are."""
        if self._routes.replace(selectors):
            self._capacities = {(): SessionCapacities()}
            for stream in self._by_session.values():
                stream.selectors = self._routes.matched_by(stream.labels)
                self._note_capacity(stream)

    def _note_capacity(self, stream: WorkerStream) -> None:
        if self._by_session.get(stream.session_key) is stream:
            capacities = self._capacities.setdefault(stream.selectors, SessionCapacities())
            capacities.put(stream.session_key, stream.capacity.remaining, first=stream.unhealthy)

    def remove(self, stream: WorkerStream) -> None:
        self._by_session.pop(stream.session_key, None)
        if capacities := self._capacities.get(stream.selectors):
            capacities.remove(stream.session_key)
        if self._by_worker.get(stream.worker_id) is stream:
            del self._by_worker[stream.worker_id]

    def get(self, session_key: int) -> WorkerStream | None:
        return self._by_session.get(session_key)

    def routes(self) -> list[tuple[int, ...]]:
        """Returns the sets of worker selectors that workers match, the one longest without a claim first."""
        return list(self._capacities)

    def capacities(self, now: float, limit: int, selectors: tuple[int, ...] = ()) -> list[SessionCapacity]:
        """Returns the capacities of up to `limit` sessions: half-open ones first, then those with the most free slots.

        Of each worker only its newest session, which has replaced the others; and only of workers that match these
        worker selectors and no others.
        """
        capacities: list[SessionCapacity] = []
        lapsed: list[int] = []
        sessions = self._capacities[selectors] = self._capacities.pop(selectors, SessionCapacities())
        for session_key in sessions:
            stream = self._by_session[session_key]
            if not (free := stream.capacity.free(now)):
                lapsed.append(session_key)
            elif self._takes_leases(stream, now):
                number = stream.capacity.heartbeat_number
                capacities.append(SessionCapacity(stream.worker_id, session_key, number, free, stream.unhealthy))
            if len(capacities) == limit:
                break
        for session_key in lapsed:
            sessions.remove(session_key)
        return capacities

    def _takes_leases(self, stream: WorkerStream, now: float) -> bool:
        newest = self._by_worker.get(stream.worker_id) is stream
        return newest and not stream.crowded and stream.busy_until <= now

    def send_order(self, worker_id: str, command: Order) -> None:
        """Sends an order if the worker is connected to this replica."""
        if stream := self._by_worker.get(worker_id):
            stream.order(command)
        if isinstance(command, CancelLease | PollOrder):
            for orders in self._hellos.get(worker_id, ()):
                orders.append(command)

    def send_reconnects(self) -> None:
        """Sends every worker to another replica, and accepts no more streams."""
        self._closed = True
        for stream in self._by_session.values():
            stream.send(ReconnectOrder())

    def __len__(self) -> int:
        return len(self._by_session)
