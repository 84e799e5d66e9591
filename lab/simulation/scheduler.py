"""A scheduler: its Python process, its lanes, its hellos, its dispatcher, with the product's bounds and intervals.

Part of `lab.simulation`. What the product decides by pure code is decided by that code: which sessions a claim
is for, how it is shared out, what a session may still be granted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from lab.benchmarks.stack import Cpu
from lab.simulation.costs import Costs
from lab.simulation.machine import Clock, Cores, Database, Entry, GroupLane, Interpreter, Process, Task, ignore
from scheduler_svc.config.settings import MAX_HEARTBEAT_INTERVAL
from scheduler_svc.dispatch.loop import HINT_INTERVAL, MAX_CLAIM, MIN_SESSIONS
from scheduler_svc.dispatch.streams import MAX_ASSIGNMENT, SessionCapacities
from scheduler_svc.domain.lease import Capacity, share_out
from scheduler_svc.leases.service import CAPACITY_TTL, GATHER_TIME
from scheduler_svc.replica.replica import REPORT_LANES, SUBMIT_LINGER
from scheduler_svc.runtime.access import Limits
from scheduler_svc.runtime.signals import SEND_INTERVAL

if TYPE_CHECKING:
    from lab.simulation.fleet import Worker

MAX_STREAMS = Limits().leases
"""Of one token, which all workers share here."""
REST_S = 0.1
"""Between two portions of what goes on at rest."""
CLAIM_SHARE = 0.3
"""Of what a run costs; the rest is its report's. By the statements' times in lab/results/performance.md."""


@dataclass(slots=True, eq=False)
class Session:
    key: int
    worker: Worker
    scheduler: Scheduler
    lane: GroupLane[Message]
    capacity: Capacity = field(default_factory=Capacity)


@dataclass(slots=True, eq=False)
class Message:
    """A report or a heartbeat of a worker. `updates`: of leases; `completed`: the tasks among them."""

    session: Session
    updates: int = 0
    completed: Sequence[Task] = ()
    heartbeat: tuple[int, int, int] | None = None
    """Its number, the free slots, the last assignment that was read."""
    idle: bool = False
    """Whether it is a heartbeat without leases that says what the one before it said."""


@dataclass(slots=True, eq=False)
class Hello:
    worker: Worker
    cancelled: bool = False


class Scheduler:
    """Its peers are the schedulers on the same database, itself included."""

    def __init__(
        self, clock: Clock, cores: Cores | None, database: Database, costs: Costs, *, name: str, peers: list[Scheduler]
    ) -> None:
        self.process = Interpreter(clock, cores, name)
        self.alive = True
        self.sessions: dict[int, Session] = {}
        self.claims = 0
        self._clock = clock
        self._database = database
        self._costs = costs
        self._peers = peers
        self._keys = 0
        self._submits: GroupLane[list[Task]] = GroupLane(clock, self._commit_submits, SUBMIT_LINGER)
        self._reports = [GroupLane(clock, partial(self._commit_reports, n)) for n in range(1, REPORT_LANES + 1)]
        self._hellos: deque[Hello] = deque()
        self._greeting = 0
        self._gathered: dict[Session, Message] = {}
        self._capacities = SessionCapacities()
        self._max_sessions = MIN_SESSIONS
        self._claiming = False
        self._hinted = self._may_have_work = False
        self._claimed: list[Task] = []
        self._notifying = False
        peers.append(self)
        clock.start(self._hint_now_and_then())
        clock.start(self._rest())

    def kill(self) -> None:
        """Kills it by SIGKILL: its streams break, and nothing of its process goes on."""
        self.alive = False
        self.process.end()
        self._capacities = SessionCapacities()
        self._peers.remove(self)
        self._database.release(self._claimed)
        sessions, self.sessions = self.sessions, {}
        for session in sessions.values():
            session.worker.stream_ended(session)

    # What clients and workers send

    def submit(self, tasks: list[Task], answered: Callable[[bool], None]) -> None:
        def put() -> None:
            claim = None if self._submits.waiting else self._inline_claim()
            self._submits.put(Entry(tasks, len(tasks), self._clock.now, answered, claim))

        self.process.use(self._costs.call.scheduler + len(tasks) * self._costs.task_ahead)(put)

    def hello(self, hello: Hello) -> None:
        """Half of its CPU is the event loop's: the connection, the stream; the rest is its transaction's."""

        def wait() -> None:
            if len(self.sessions) >= MAX_STREAMS:
                hello.worker.answered(hello, None)
                return
            self._hellos.append(hello)
            if self._greeting < 3:  # of the pool's four: all share a token, and no caller gets the last one
                self._greeting += 1
                self._clock.start(self._greet(f"hello-{self._greeting}"))

        self.process.use(self._costs.hello.scheduler / 2)(wait)

    def send(self, message: Message) -> None:
        if message.idle:
            self.process.use(self._costs.heartbeat.scheduler)(partial(self._gather, message))
        else:
            self.process.use(self._costs.message.scheduler)(partial(self._report, message))

    def end(self, session: Session) -> None:
        self.sessions.pop(session.key, None)
        self._capacities.remove(session.key)
        self._gathered.pop(session, None)

    def hint(self) -> None:
        self._hinted = self._may_have_work = True
        self._claim_soon()

    # How

    def _greet(self, thread: str) -> Process[None]:
        while self._hellos:
            hello = self._hellos.popleft()
            if hello.cancelled:
                continue
            cost = Cpu(self._costs.hello.scheduler / 2, self._costs.hello.postgres)
            committed = yield from self._transaction(thread, cost, self._costs.hello_wait)
            if not hello.cancelled:
                hello.worker.answered(hello, self._open(hello.worker) if committed else None)
        self._greeting -= 1

    def _open(self, worker: Worker) -> Session:
        self._keys += 1
        session = Session(self._keys, worker, self, self._reports[self._keys % REPORT_LANES])
        self.sessions[session.key] = session
        return session

    def _gather(self, message: Message) -> None:
        if not self._gathered:
            self._clock.after(GATHER_TIME, self._release)
        self._gathered[message.session] = message

    def _release(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for message in gathered.values():
            self._report(message)

    def _report(self, message: Message) -> None:
        if not self.alive:
            return
        on_answer = partial(self._answer, message)
        message.session.lane.put(Entry(message, max(1, message.updates), self._clock.now, on_answer))

    def _answer(self, message: Message, committed: bool) -> None:
        session = message.session
        if session.key not in self.sessions:
            return
        if not committed:
            self.end(session)
            session.worker.stream_ended(session)
            return
        if message.heartbeat:
            expires_at = self._clock.now + CAPACITY_TTL * MAX_HEARTBEAT_INTERVAL
            session.capacity.heartbeat(*message.heartbeat, expires_at)
            self._note(session)
            if self._may_have_work:
                self._claim_soon()
        session.worker.acknowledged(message)

    def _note(self, session: Session) -> None:
        self._capacities.put(session.key, session.capacity.remaining)

    def _commit_submits(self, group: list[list[Task]]) -> Process[bool]:
        costs, tasks = self._costs, [task for call in group for task in call]
        cost = costs.submits * costs.submit_inside + Cpu(
            len(tasks) * (costs.task.scheduler - costs.task_ahead),
            len(group) * costs.call.postgres + len(tasks) * costs.task.postgres,
        )
        committed = yield from self._transaction("submits", cost, costs.submit_wait)
        self._go_on(costs.submits, costs.submit_inside)
        if committed:
            self._database.store(tasks)
            self.hint()
            self._notify()
        return committed

    def _commit_reports(self, number: int, group: list[Message]) -> Process[bool]:
        """What the event loop does of it is counted where the messages come."""
        costs, idle = self._costs, sum(message.idle for message in group)
        completed = [task for message in group for task in message.completed]
        messages = idle * costs.heartbeat.postgres + (len(group) - idle) * costs.message.postgres
        cost = Cpu(0.0, messages) + costs.run * ((1 - CLAIM_SHARE) * len(completed))
        if idle < len(group):
            cost += costs.reports * costs.report_inside
        committed = yield from self._transaction(f"reports-{number}", cost, costs.report_wait)
        if idle < len(group):
            self._go_on(costs.reports, costs.report_inside)
        if committed:
            self._database.complete(completed)
        return committed

    def _transaction(self, thread: str, cost: Cpu, wait: float) -> Process[bool]:
        return self._database.transaction(self.process, thread, cost, wait)

    def _notify(self) -> None:
        """Tells the other schedulers, at most once in a while."""
        if self._notifying or len(self._peers) == 1:
            return

        def send() -> None:
            self._notifying = False
            for peer in self._peers:
                if peer is not self:
                    peer.hint()

        self._notifying = True
        self._clock.after(SEND_INTERVAL, send)

    def _inline_claim(self) -> Callable[[], Process[None]] | None:
        if self._claiming or not any(True for _ in self._capacities):
            return None
        self._claiming = True
        return self._claim_inline

    def _claim_inline(self) -> Process[None]:
        yield from self._claim("submits")
        self._claiming = False
        self._claim_soon()

    def _claim_soon(self) -> None:
        if not self._claiming and self.alive:
            self._claiming = True
            self._clock.start(self._claims())

    def _claims(self) -> Process[None]:
        while self._may_have_work and self.alive and any(True for _ in self._capacities):
            yield from self._claim("claims")
        self._claiming = False

    def _free(self) -> dict[int, int]:
        """Returns what the sessions of the next claim may be granted, those with the most capacity first."""
        free: dict[int, int] = {}
        for key in self._capacities:
            if slots := self.sessions[key].capacity.free(self._clock.now):
                free[key] = slots
            if len(free) == self._max_sessions:
                break
        return free

    def _claim(self, thread: str) -> Process[None]:
        costs, slots = self._costs, share_out(self._free(), MAX_CLAIM)
        self._hinted = False
        self.claims += 1
        self._claimed = tasks = self._database.take(len(slots))
        cost = costs.claims * costs.claim_inside + costs.run * (CLAIM_SHARE * len(tasks))
        committed = yield from self._transaction(thread, cost, costs.claim_wait)
        if tasks:
            self._go_on(costs.claims, costs.claim_inside)
        self._claimed = []
        if not committed:
            self._database.release(tasks)
        full = bool(slots) and len(tasks) == len(slots) and committed
        self._max_sessions = min(4 * self._max_sessions, MAX_CLAIM) if full else MIN_SESSIONS
        self._may_have_work = full or self._hinted
        if committed:
            self._grant(slots, tasks)

    def _go_on(self, lane: Cpu, inside: float) -> None:
        """Does the rest of a transaction's work, for which nobody waits."""
        self.process.use((1 - inside) * lane.scheduler, "beside")(ignore)
        self._database.use((1 - inside) * lane.postgres)

    def _grant(self, slots: list[int], tasks: list[Task]) -> None:
        tasks_by_session: dict[int, list[Task]] = {}
        for key, task in zip(slots, tasks, strict=False):
            tasks_by_session.setdefault(key, []).append(task)
        for key, session_tasks in tasks_by_session.items():
            if (session := self.sessions.get(key)) is None:
                self._database.release(session_tasks)
                continue
            for first in range(0, len(session_tasks), MAX_ASSIGNMENT):
                part = session_tasks[first : first + MAX_ASSIGNMENT]
                number = session.capacity.assigned(len(part))
                session.worker.assign(session, number, part, self._costs.notice)
            self._note(session)

    def _hint_now_and_then(self) -> Process[None]:
        while self.alive:
            self.hint()
            yield self._clock.wait(HINT_INTERVAL)

    def _rest(self) -> Process[None]:
        while self.alive:
            yield self.process.use(self._costs.rest.scheduler * REST_S, "rest")
            yield self._clock.wait(REST_S)
