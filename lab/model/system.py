"""The whole model: workers, their streams, the database, and all that may happen next.

A state is a tuple of numbers of its parts. Each worker has two streams: its present one, and a former one that only
the scheduler still believes in; what had been written to that one may still arrive. Within a stream messages keep
their order; between streams, and against the database's transactions, anything may come first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

from lab.model import properties, scheduler
from lab.model.database import session_key
from lab.model.explore import Edge, Event, Parts
from lab.model.process import Hello, Process, Report, ReportAcknowledged, State, ToScheduler, Welcome, Word, named
from lab.model.properties import FAULTS, OF_A_WORKER, Scenario
from lab.model.scheduler import Application, End, Link, Whole, formerly, linked, replaced_in, spend
from lab.model.tables import Tables, submitted
from scheduler_svc.dispatch.work import SessionCapacity
from scheduler_svc.domain.lifecycle import Status
from worker_svc.session.outbox import UpdateKind

A = TypeVar("A")

RIVAL = "R"
RIVAL_SESSION = session_key(RIVAL, 1)


class Model:
    """A system for `explore`. `fenced` off lets the database find leases by their task alone."""

    def __init__(self, scenario: Scenario, *, fenced: bool = True) -> None:
        self.scenario = scenario
        self._fenced = fenced
        self._application = Application()
        self._tables: Parts[Tables] = Parts()
        self._processes: Parts[Process] = Parts()
        self._wrong: dict[Hashable, str | None] = {}
        self._workers = range(scenario.workers)
        befalls_one = sum(scenario.faults.get(fault, 0) for fault in OF_A_WORKER) == 1
        self._faulty = self._workers[:1] if befalls_one else self._workers
        """Workers are alike: where a single fault befalls one of them, it is the first."""

    # The system

    def initial(self) -> Whole:
        """All workers are up and not connected, all tasks wait."""
        scenario = self.scenario
        tables = submitted(scenario.tasks, scenario.max_retries, scenario.limits[0], fenced=self._fenced)
        if scenario.rival:
            self._application.hello(tables, RIVAL, Hello(1, (), ()))
        no_links = (None,) * scenario.workers
        process = self._processes.number(Process(scenario.slots))
        budget = tuple(scenario.faults.get(fault, 0) for fault in FAULTS)
        return Whole(self._tables.number(tables), budget, (process,) * scenario.workers, no_links, no_links)

    def edges(self, state: Whole) -> Iterator[Edge[Whole]]:
        for worker in self._workers:
            yield from self._of_worker(state, worker)
            yield from self._of_stream(state, worker)
            yield from self._of_former_stream(state, worker)
            yield from self._claims(state, worker)
        for worker in self._faulty:
            yield from self._faults_of(state, worker)
        if self.scenario.rival:
            yield from self._of_rival(state)
        yield from self._of_database(state)
        yield from self._of_clients(state)
        yield from self._of_time(state)

    def wrong(self, state: Whole) -> str | None:
        parts = state.tables, state.processes, state.rival
        if parts not in self._wrong:
            processes = [self.process(state, worker) for worker in self._workers]
            self._wrong[parts] = properties.wrong(self.scenario, self.tables(state), processes, state.rival)
        return self._wrong[parts]

    def settled(self, state: Whole) -> bool:
        return properties.settled(self.tables(state), [self.process(state, worker) for worker in self._workers])

    def tables(self, state: Whole) -> Tables:
        return self._tables[state.tables]

    def process(self, state: Whole, who: int) -> Process:
        return self._processes[state.processes[who]]

    # Steps of the parts

    def _on_tables(self, state: Whole, call: Callable[..., A], *arguments: Hashable) -> tuple[Whole, A]:
        step = (call.__name__, *arguments)
        number, answer = self._tables.step(state.tables, step, lambda tables: call(tables, *arguments))
        return state._replace(tables=number), answer

    def _on_process(self, state: Whole, worker: int, call: Callable[..., A], *arguments: Hashable) -> tuple[Whole, A]:
        step = (call.__name__, *arguments)
        number, answer = self._processes.step(state.processes[worker], step, lambda process: call(process, *arguments))
        return state._replace(processes=replaced_in(state.processes, worker, number)), answer

    # A worker by itself

    def _of_worker(self, state: Whole, worker: int) -> Iterator[Edge[Whole]]:
        process = self.process(state, worker)
        recoveries = (
            (not process.alive, "restart", Process.restart),
            (process.suspended, "resume", Process.resume),
            (not process.reachable, "network heals", Process.heal),
            (process.overdue, "guard", Process.guard),
            (process.pauses, "pause is over", Process.try_again),
        )
        for is_due, name, call in recoveries:
            if is_due:
                yield _calm(name, self._on_process(state, worker, call)[0], worker)
        if process.awake:
            for lease_id in sorted(process.running):
                yield _calm("finish", self._finish(state, worker, lease_id, "finish"), worker, lease_id)
            yield from self._speaks(state, worker)

    def _speaks(self, state: Whole, worker: int) -> Iterator[Edge[Whole]]:
        """Yields what a worker may say, and the next message that it may hear."""
        process, link = self.process(state, worker), state.links[worker]
        if link is None:
            if process.dials and self.tables(state).up:
                yield self._says(state, worker, "connect", Process.connect)
            return
        if process.has_state_to_send:
            yield self._says(state, worker, "state", Process.state)
        if process.has_report_to_send:
            yield self._says(state, worker, "report", Process.report)
        if link.down:
            message = link.down[0]
            after, _ = self._on_process(state, worker, Process.hear, message)
            yield _calm("hear", linked(after, worker, link._replace(down=link.down[1:])), worker, message)

    def _finish(self, state: Whole, worker: int, lease_id: str, action: str) -> Whole:
        return self._on_process(state, worker, Process.finish, lease_id, action)[0]

    def _says(self, state: Whole, worker: int, name: str, call: Callable[[Process], ToScheduler]) -> Edge[Whole]:
        after, message = self._on_process(state, worker, call)
        link = state.links[worker] or Link()
        return _calm(name, linked(after, worker, link._replace(up=(*link.up, message))), worker, message)

    # The scheduler's end of the streams

    def _of_stream(self, state: Whole, worker: int) -> Iterator[Edge[Whole]]:
        link = state.links[worker]
        if link is None or not self.tables(state).up:
            return
        if link.up:
            after, next_link = self._take(state, worker, link)
            after = after if next_link is not None else self._cut(after, worker)
            yield _calm("take", after if next_link is None else linked(after, worker, next_link), worker, link.up[0])
        if link.end is not None and link.end.claimed is not None:
            delivered_link = scheduler.handed_over(link)
            yield _calm("assign", linked(state, worker, delivered_link), worker, delivered_link.down[-1])

    def _of_former_stream(self, state: Whole, worker: int) -> Iterator[Edge[Whole]]:
        """Yields the steps of a stream that the worker has left. What comes down it is read by nobody."""
        link = state.former[worker]
        if link is None or not self.tables(state).up:
            return
        if link.up:
            after, next_link = self._take(state, worker, link)
            closed_state = self._closed(after, worker, link) if next_link is None else None
            after = closed_state or formerly(after, worker, next_link and next_link._replace(down=()))
            yield _calm("take late", after, worker, link.up[0])
        if link.end is not None and link.end.claimed is not None:
            delivered_link = scheduler.handed_over(link)._replace(down=())
            yield _calm("assign late", formerly(state, worker, delivered_link), worker)
        yield _calm("close", self._closed(state, worker, link), worker)

    def _closed(self, state: Whole, worker: int, link: Link) -> Whole:
        """The scheduler sees the end of a former stream: what it was not given is taken back."""
        if link.end is not None and link.end.claimed is not None:
            state, _ = self._on_tables(state, self._application.take_back, link.end.claimed[1])
        return formerly(state, worker, None)

    def _take(self, state: Whole, worker: int, link: Link) -> tuple[Whole, Link | None]:
        """Runs the transaction of a stream's next message; without a link where the stream ends by it."""
        message, worker_id = link.up[0], name_of(worker)
        remainder = link._replace(up=link.up[1:])
        if isinstance(message, Hello):
            after, answer = self._on_tables(state, self._application.hello, worker_id, message)
            if answer is None:
                return after, None
            return after, remainder._replace(down=(*remainder.down, Welcome(answer[1])), end=End(answer[0]))
        assert link.end is not None, "a hello comes first"
        if isinstance(message, Report):
            after, outcomes = self._on_tables(state, self._application.report, message)
            return after, remainder._replace(down=(*remainder.down, ReportAcknowledged(message.number, outcomes)))
        after, not_renewed = self._on_tables(state, self._application.state, worker_id, link.end.session_key, message)
        return after, None if not_renewed is None else scheduler.stated(remainder, link.end, message, not_renewed)

    def _claims(self, state: Whole, worker: int) -> Iterator[Edge[Whole]]:
        former, present = state.former[worker], state.links[worker]
        if not self.tables(state).claimable:
            return
        if self.scenario.one_replica:
            yield from self._claim(state, worker, "claim", former, present)
        else:
            yield from self._claim(state, worker, "claim", None, present)
            yield from self._claim(state, worker, "claim late", former, None)

    def _claim(
        self, state: Whole, worker: int, name: str, former: Link | None, present: Link | None
    ) -> Iterator[Edge[Whole]]:
        """A claim of one replica, which has these streams, is committed; what it granted is not sent yet."""
        capacities = scheduler.capacities(name_of(worker), former, present)
        if not capacities:
            return
        (capacity,) = capacities  # of the stream that is not replaced
        after, grants = self._on_tables(state, self._application.claim, capacity)
        if former is not None:
            after = formerly(after, worker, scheduler.claimed(former, grants, capacity.session_key))
        if present is not None:
            after = linked(after, worker, scheduler.claimed(present, grants, capacity.session_key))
        yield _calm(name, after, worker)

    # The rival

    def _of_rival(self, state: Whole) -> Iterator[Edge[Whole]]:
        tables = self.tables(state)
        if tables.up and tables.claimable and not state.rival:
            after, grants = self._on_tables(state, self._application.claim, SessionCapacity(RIVAL, RIVAL_SESSION, 0, 1))
            refs = tuple(grant.ref for grant in grants.grants) if grants else ()
            yield _calm("the other worker claims", after._replace(rival=refs), what=refs)
        if tables.up and state.rival:
            report = Report(1, tuple(Word(*named(ref), UpdateKind.COMPLETED) for ref in state.rival))
            after, _ = self._on_tables(state, self._application.report, report)
            yield _calm("the other worker completes", after._replace(rival=()), what=state.rival)

    def _rival_renews(self, state: Whole) -> Whole:
        if not state.rival or not self.tables(state).up:
            return state
        message = State(1, 0, tuple(map(named, state.rival)), 0)
        after, lost_leases = self._on_tables(state, self._application.state, RIVAL, RIVAL_SESSION, message)
        return after._replace(rival=()) if lost_leases else after

    # Faults

    def _faults_of(self, state: Whole, worker: int) -> Iterator[Edge[Whole]]:
        process = self.process(state, worker)
        if process.awake and state.links[worker] is not None:
            if (next_state := spend(state, "cut")) is not None:
                yield _fault("cut", self._cut(next_state, worker), worker)
            if (next_state := spend(state, "partition")) is not None:
                parted = self._on_process(self._cut(next_state, worker), worker, Process.part)[0]
                yield _fault("network fails", parted, worker)
            if (next_state := spend(state, "replica")) is not None:
                cut_state = self._cut(next_state, worker)
                yield _fault("replica dies", formerly(cut_state, worker, state.former[worker]), worker)
        if process.awake and (next_state := spend(state, "kill")) is not None:
            cut_state = self._cut(next_state, worker) if state.links[worker] is not None else next_state
            yield _fault("kill", self._on_process(cut_state, worker, Process.kill)[0], worker)
        if process.awake and (next_state := spend(state, "suspend")) is not None:
            yield _fault("suspend", self._on_process(next_state, worker, Process.suspend)[0], worker)
        for fault in ("fail", "ill", "defer") if process.awake and process.running else ():
            if (next_state := spend(state, fault)) is not None:
                lease_id = min(process.running)
                yield _fault(fault, self._finish(next_state, worker, lease_id, fault), worker, lease_id)

    def _cut(self, state: Whole, worker: int) -> Whole:
        """The worker sees the end of its stream; the scheduler's end lives on as its former stream."""
        link = state.links[worker]
        after, _ = self._on_process(state, worker, Process.cut)
        return linked(formerly(after, worker, link and link._replace(down=())), worker, None)

    # The database, clients, time

    def _of_database(self, state: Whole) -> Iterator[Edge[Whole]]:
        tables = self.tables(state)
        if not tables.up:
            yield _calm("database returns", self._rival_renews(self._on_tables(state, _set_up, True)[0]))
            return
        if tables.stamp < 0 or tables.expired:
            yield _calm("reaper", self._on_tables(state, self._application.reap)[0])
        if tables.delayed:
            yield _calm("due", self._on_tables(state, self._application.promote)[0])
        if (admitted := self._admitted(state)) is not None:
            yield _calm("admission", admitted)
        if (next_state := spend(state, "outage")) is not None:
            for worker in self._workers:
                cut_state = self._cut(next_state, worker) if state.links[worker] else next_state
                next_state = formerly(cut_state, worker, None)
            yield _fault("database goes away", self._on_tables(next_state, _set_up, False)[0])
        if (next_state := spend(state, "jump")) is not None:
            yield _fault("database clock jumps", self._on_tables(next_state, Tables.pass_time, 0.0, 1.0)[0])

    def _admitted(self, state: Whole) -> Whole | None:
        """Returns it after the admission loop's transaction; None where that changes nothing."""
        if not any(self.scenario.limits):
            return None
        after, _ = self._on_tables(state, self._application.admit)
        return None if after == state else after

    def _of_clients(self, state: Whole) -> Iterator[Edge[Whole]]:
        """Yields CancelTask with force, RetryTask; and that the scheduler finds that a run has taken too long."""
        tables, application = self.tables(state), self._application
        for task, record in tables.tasks.items() if tables.up else ():
            calls = (
                ("cancel", record.status is Status.PENDING, application.cancel),
                ("timeout", task in tables.leases, application.reap),
                ("retry", record.status is Status.FAILED, application.retry),
            )
            for name, is_possible, call in calls:
                if is_possible and (next_state := spend(state, name)) is not None:
                    yield _fault(name, self._on_tables(next_state, call, task)[0], what=task)
        if tables.up and (next_state := spend(state, "limit")) is not None:
            tasks = self.scenario.limits[-1 - next_state.budget[FAULTS.index("limit")]]
            yield _fault("limit", self._on_tables(next_state, application.limit, tasks)[0], what=tasks)

    def _of_time(self, state: Whole) -> Iterator[Edge[Whole]]:
        """Yields a unit of time: free if nothing is pending, else somebody was slow; never while a guard has to act."""
        if any(self.process(state, worker).overdue for worker in self._workers):
            return
        pending = self._is_pending(state)
        next_state = spend(state, "slow") if pending else state
        if next_state is not None:
            yield Edge(Event("time passes"), self._later(next_state, database=True), pending)
        if (next_state := spend(state, "stand")) is not None:
            yield _fault("time passes, the database's clock stands", self._later(next_state, database=False))

    def _is_pending(self, state: Whole) -> bool:
        tables = self.tables(state)
        if tables.up and (tables.stamp < 0 or self._admitted(state) is not None):
            return True
        return any(self._has_pending(state, tables, worker) for worker in self._workers)

    def _has_pending(self, state: Whole, tables: Tables, worker: int) -> bool:
        process, link = self.process(state, worker), state.links[worker]
        if link is None:
            return process.dials and tables.up
        if link.up or (link.down and process.awake) or (link.end and link.end.claimed):
            return True
        if process.has_state_to_send or process.has_report_to_send:
            return True
        return bool(tables.claimable and link.end and link.end.stock.thawed().free(0.0))

    def _later(self, state: Whole, *, database: bool) -> Whole:
        state = self._rival_renews(state)
        state, _ = self._on_tables(state, Tables.pass_time, 1.0, 1.0 if database else 0.0)
        for worker in self._workers:
            state = self._renumbered(state, worker)
            state, _ = self._on_process(state, worker, Process.pass_time, 1.0)
            state = linked(state, worker, scheduler.aged(state.links[worker]))
            state = formerly(state, worker, scheduler.aged(state.former[worker]))
        return state

    def _renumbered(self, state: Whole, worker: int) -> Whole:
        """The numbers of a stream on which nothing is under way begin anew: only differences matter."""
        link, stream = state.links[worker], self.process(state, worker).stream
        if link is None or stream is None or link.up or link.down or link.end is None or link.end.claimed:
            return state
        if not stream.welcomed or stream.heartbeat_number < 2:
            return state
        state, (heartbeats, assignments) = self._on_process(state, worker, Process.renumber)
        return linked(state, worker, scheduler.renumbered(link, heartbeats, assignments))


def _set_up(tables: Tables, up: bool) -> None:
    tables.up = up


def name_of(who: int) -> str:
    return "AB"[who]


def _calm(name: str, target: Whole, who: int = -1, what: Hashable = None) -> Edge[Whole]:
    return Edge(Event(name, who, what), target, False)


def _fault(name: str, target: Whole, who: int = -1, what: Hashable = None) -> Edge[Whole]:
    return Edge(Event(name, who, what), target, True)
