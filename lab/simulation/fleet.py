"""Workers and clients. Workers dial, say hello, send heartbeats, and dial again after the product's own pauses.

`Worker` takes nothing; `NoopWorker` completes at once, `RunningWorker` after a while. Clients have calls in flight one
after the other, or submit at random moments.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lab.simulation.costs import Costs
from lab.simulation.machine import Call, Clock, Database, Interpreter, Process, Task
from lab.simulation.scheduler import Hello, Message, Scheduler, Session
from scheduler_svc.config.settings import MAX_HEARTBEAT_INTERVAL, Settings
from worker_svc.session.channel import ReconnectBackoff
from worker_svc.session.deadlines import deadline
from worker_svc.session.scheduler_connection import WELCOME_TIMEOUT

LEASE_TTL: float = Settings.model_fields["lease_ttl"].default
RENEWAL_LIMIT = deadline(0.0, LEASE_TTL)
"""Seconds after its last renewal at which a worker stops what runs."""


@dataclass(slots=True, eq=False)
class Address:
    """What a worker dials. A scheduler that is started again has the address of the one before."""

    scheduler: Scheduler | None = None


@dataclass(slots=True)
class Surroundings:
    """What workers share. `process`: that they run in, if its CPU counts."""

    clock: Clock
    costs: Costs
    database: Database
    process: Interpreter | None = None


class Worker:
    """It has a list of addresses, and begins with one of its own."""

    def __init__(self, around: Surroundings, addresses: Sequence[Address], first: int = 0) -> None:
        self.around = around
        self.session: Session | None = None
        self.connected_at = -1.0
        self.hellos = 0
        self._addresses = addresses
        self._next = first
        self._backoff = ReconnectBackoff()
        self._heartbeats = self._last_assignment = 0
        self._told: tuple[int, int] | None = None

    def connect(self) -> None:
        address = self._addresses[self._next % len(self._addresses)]
        self._next += 1
        if address.scheduler and address.scheduler.alive:
            self.spend(self.around.costs.dial, partial(self._greet, address.scheduler))
        else:
            self._pause()

    def answered(self, hello: Hello, session: Session | None) -> None:
        """`session`: None if the hello failed."""
        hello.cancelled = True
        if session is None:
            self._pause()
            return
        self.session, self.connected_at = session, self.around.clock.now
        self._backoff.max_pause = MAX_HEARTBEAT_INTERVAL
        self._heartbeats = self._last_assignment = 0
        self._told = None
        self.welcomed()
        self._beat(session)

    def stream_ended(self, session: Session) -> None:
        if self.session is session:
            self.session = None
            self._backoff.succeeded(self.around.clock.now - self.connected_at)
            self._pause()

    def assign(self, session: Session, number: int, tasks: list[Task], after: float) -> None:
        self.around.clock.after(after, partial(self._assigned, session, number, tasks))

    def acknowledged(self, message: Message) -> None:
        """A message of its session is committed."""

    def take(self, tasks: list[Task]) -> None:
        raise NotImplementedError

    def welcomed(self) -> None:
        """A session is open."""

    def spend(self, seconds: float, then: Call) -> None:
        if self.around.process:
            self.around.process.use(seconds)(then)
        else:
            then()

    @property
    def free(self) -> int:
        return 0

    @property
    def held(self) -> int:
        return 0

    def heartbeat(self) -> None:
        if self.session is None:
            return
        self._heartbeats += 1
        state = (self.free, self._last_assignment)
        idle = self._told == state and not self.held
        self._told = state
        message = Message(self.session, heartbeat=(self._heartbeats, *state), updates=self.held, idle=idle)
        self.session.scheduler.send(message)

    def _greet(self, scheduler: Scheduler) -> None:
        hello = Hello(self)
        self.hellos += 1
        self.around.clock.after(WELCOME_TIMEOUT, partial(self._give_up, hello))
        scheduler.hello(hello)

    def _give_up(self, hello: Hello) -> None:
        if not hello.cancelled:
            hello.cancelled = True
            self._pause()

    def _pause(self) -> None:
        self.around.clock.after(self._backoff.pause(), self.connect)

    def _beat(self, session: Session) -> None:
        if self.session is session:
            self.heartbeat()
            self.around.clock.after(MAX_HEARTBEAT_INTERVAL, partial(self._beat, session))

    def _assigned(self, session: Session, number: int, tasks: list[Task]) -> None:
        if self.session is not session:
            self.around.database.release(tasks)  # its next hello does not name them
            return
        self._last_assignment = max(self._last_assignment, number)
        for task in tasks:
            if task.assigned:
                task.assigned(self.around.clock.now)
        self.take(tasks)


class NoopWorker(Worker):
    """Completes what it gets at once, all of an assignment in one report, as the benchmarks' no-op worker does."""

    def __init__(self, around: Surroundings, addresses: Sequence[Address], depth: int) -> None:
        super().__init__(around, addresses)
        self._depth = depth
        self._held = 0
        self._offered = 0

    @property
    def free(self) -> int:
        return self._depth - self._held

    @property
    def held(self) -> int:
        return self._held

    def heartbeat(self) -> None:
        self._offered = self.free
        super().heartbeat()

    def take(self, tasks: list[Task]) -> None:
        self._held += len(tasks)
        self._offered -= len(tasks)
        costs = self.around.costs
        self.spend(costs.worker_message + len(tasks) * costs.worker_run, partial(self._report, tasks))

    def _report(self, tasks: list[Task]) -> None:
        if self.session:
            self.session.scheduler.send(Message(self.session, updates=3 * len(tasks), completed=tasks))

    def acknowledged(self, message: Message) -> None:
        """Offers capacity again once a quarter more is free than was offered."""
        self._held -= len(message.completed)
        if message.completed and self.free - self._offered >= self._depth // 4:
            self.heartbeat()


class RunningWorker(Worker):
    """Each task takes a slot for so many seconds on average; three reports and a heartbeat tell of it.

    While no scheduler answers, what runs goes on, and ended tasks wait. What is not renewed in time is stopped.
    """

    def __init__(
        self, around: Surroundings, addresses: Sequence[Address], first: int, slots: int, seconds: float
    ) -> None:
        super().__init__(around, addresses, first)
        self._slots = slots
        self.stopped = 0
        """Tasks that it stopped because their leases could not be renewed."""
        self._seconds = seconds
        self._running: dict[Task, None] = {}
        self._unsent: list[Task] = []
        self._renewed_at = 0.0

    @property
    def free(self) -> int:
        return self._slots - len(self._running)

    @property
    def held(self) -> int:
        return len(self._running) + len(self._unsent)

    def take(self, tasks: list[Task]) -> None:
        if not self.held:
            self._renewed_at = self.around.clock.now
            self.around.clock.after(RENEWAL_LIMIT, self._check)
        for task in tasks:
            self._running[task] = None
            self.around.clock.after(random.expovariate(1 / self._seconds), partial(self._ended, task))
            self._report(1)  # accepted
            self._report(1)  # processing

    def welcomed(self) -> None:
        self._renewed_at = self.around.clock.now
        if self._unsent:
            self._report(len(self._unsent), tuple(self._unsent))

    def acknowledged(self, message: Message) -> None:
        if message.heartbeat:
            self._renewed_at = self.around.clock.now
        for task in message.completed:
            self._unsent.remove(task)

    def _ended(self, task: Task) -> None:
        if task not in self._running:
            return  # it was stopped
        del self._running[task]
        self._unsent.append(task)
        self._report(1, (task,))
        self.heartbeat()

    def _report(self, updates: int, completed: tuple[Task, ...] = ()) -> None:
        if self.session:
            self.session.scheduler.send(Message(self.session, updates=updates, completed=completed))

    def _check(self) -> None:
        if not self.held:
            return
        remaining = self._renewed_at + RENEWAL_LIMIT - self.around.clock.now
        if remaining > 0:
            self.around.clock.after(remaining, self._check)
            return
        self.stopped += len(self._running)
        self.around.database.release(list(self._running))
        self._running.clear()


DEADLINE_S = 10.0
"""Of a client's call; a submit with a `request_id` may then be repeated."""
REPEAT_S = 1.0
"""Between a failed call and its repetition, on average."""


class ClosedLoop:
    """As the benchmarks' loader: so many calls in flight, each with a batch, until all tasks are submitted."""

    def __init__(self, around: Surroundings, address: Address, tasks: int, batch: int, in_flight: int) -> None:
        self._around = around
        self._address = address
        self._left = tasks
        self._batch = batch
        self._in_flight = in_flight
        for _ in range(in_flight):
            self._call()

    def _call(self, _committed: bool = True) -> None:
        if self._left <= 0:
            return
        self._left -= self._batch
        costs = self._around.costs
        seconds = costs.client_call + self._batch * costs.client_task
        tasks = [Task(self._around.clock.now) for _ in range(self._batch)]
        assert self._around.process
        assert self._address.scheduler
        self._around.process.use(seconds)(partial(self._address.scheduler.submit, tasks, self._call))


class Arrivals:
    """Submits at random moments, `rate` tasks a second, each to one of the addresses. Failed ones are repeated.

    `latencies`: from the call to the worker, in seconds; `waiting`: tasks that are not stored yet.
    """

    def __init__(self, around: Surroundings, addresses: Sequence[Address], rate: float, *, batch: int = 1) -> None:
        self.addresses = addresses
        self.latencies: list[float] = []
        self.submitted = self.waiting = 0
        self._around = around
        self._rate = rate
        self._batch = batch
        self._stopped = False
        around.clock.start(self._arrive())

    def stop(self) -> None:
        self._stopped = True

    def _arrive(self) -> Process[None]:
        while True:
            yield self._around.clock.wait(random.expovariate(self._rate / self._batch))
            if self._stopped:
                return
            self.submitted += self._batch
            self.waiting += self._batch
            now = self._around.clock.now
            self._submit([Task(now, partial(self._assigned, now)) for _ in range(self._batch)])

    def _assigned(self, begin: float, now: float) -> None:
        self.latencies.append(now - begin)

    def _submit(self, tasks: list[Task]) -> None:
        """Gives up after a while, as a client's deadline has it: a call may die with its scheduler."""
        scheduler = random.choice(self.addresses).scheduler
        if scheduler is None or not scheduler.alive:
            self.repeat(tasks)
            return
        over = False

        def answered(committed: bool) -> None:
            nonlocal over
            if not over and committed:
                self.waiting -= len(tasks)
            elif not over:
                self.repeat(tasks)
            over = True

        submit = partial(scheduler.submit, tasks, answered)
        if self._around.process:
            costs = self._around.costs
            self._around.process.use(costs.client_call + len(tasks) * costs.client_task)(submit)
        else:
            submit()
        if self._batch > 1:
            self._around.clock.after(DEADLINE_S, partial(answered, False))

    def repeat(self, tasks: list[Task]) -> None:
        self._around.clock.after(random.uniform(0, 2 * REPEAT_S), partial(self._submit, tasks))
