"""The whole model: workers, their streams, the database, and all that may happen next.

A state is a tuple of numbers of its parts. Each worker has two streams: its present one, and a former one that only
the scheduler still believes in; what had been written to that one may still arrive. Within a stream messages keep
their order; between streams, and against the database's transactions, anything may come first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import TypeVar

from scheduler_svc.dispatch.work import SessionCapacity
from scheduler_svc.domain.lifecycle import Status
from verification.model import links, properties
from verification.model.database import session_key
from verification.model.explore import Edge, Event
from verification.model.interning import Parts
from verification.model.links import End, Link
from verification.model.messages import (
    Hello,
    Report,
    ReportAcknowledged,
    State,
    ToScheduler,
    Welcome,
    Word,
    named,
)
from verification.model.process import Process
from verification.model.scenario import FAULTS, OF_A_WORKER, Scenario
from verification.model.scheduler import Application
from verification.model.tables import Tables, jump, pass_time, set_down, set_up, stand, submitted
from verification.model.whole import Whole, formerly, linked, replaced_in, spend
from worker_svc.session.outbox import UpdateKind

A = TypeVar("A")

RIVAL = "R"
RIVAL_SESSION = session_key(RIVAL, 1)
RIVAL_CAPACITY = SessionCapacity(RIVAL, RIVAL_SESSION, 0, 1)


class Model:
    """A system for `explore`. `fenced` off lets the database find leases by their task alone."""

    def __init__(self, scenario: Scenario, *, fenced: bool = True) -> None:
        self.scenario = scenario
        self._fenced = fenced
        self._application = Application(scenario.lease_ttl, 1.0, scenario.max_losses, scenario.max_deferrals)
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
        one = self.scenario
        tables = submitted(one.tasks, one.max_retries, one.lease_ttl, one.limits[0], fenced=self._fenced)
        if one.rival:
            self._application.hello(tables, RIVAL, Hello(1, (), ()))
        nothing = (None,) * one.workers
        process = self._processes.number(Process(one.slots, one.lease_ttl))
        budget = tuple(one.faults.get(fault, 0) for fault in FAULTS)
        return Whole(self._tables.number(tables), budget, (process,) * one.workers, nothing, nothing)

    def edges(self, whole: Whole) -> Iterator[Edge[Whole]]:
        """All that may happen next."""
        for who in self._workers:
            yield from self._of_worker(whole, who)
            yield from self._of_stream(whole, who)
            yield from self._of_former_stream(whole, who)
            yield from self._claims(whole, who)
        for who in self._faulty:
            yield from self._faults_of(whole, who)
        if self.scenario.rival:
            yield from self._of_rival(whole)
        yield from self._of_database(whole)
        yield from self._of_clients(whole)
        yield from self._of_time(whole)

    def wrong(self, whole: Whole) -> str | None:
        """See `properties`."""
        parts = whole.tables, whole.processes, whole.rival
        if parts not in self._wrong:
            processes = [self.process(whole, who) for who in self._workers]
            self._wrong[parts] = properties.wrong(self.scenario, self.tables(whole), processes, whole.rival)
        return self._wrong[parts]

    def settled(self, whole: Whole) -> bool:
        """See `properties`."""
        return properties.settled(self.tables(whole), [self.process(whole, who) for who in self._workers])

    def tables(self, whole: Whole) -> Tables:
        """The database of a state."""
        return self._tables[whole.tables]

    def process(self, whole: Whole, who: int) -> Process:
        """A worker of a state."""
        return self._processes[whole.processes[who]]

    # Steps of the parts

    def _on_tables(self, whole: Whole, name: tuple[object, ...], call: Callable[[Tables], A]) -> tuple[Whole, A]:
        number, answer = self._tables.step(whole.tables, name, call)
        return whole._replace(tables=number), answer

    def _on_process(
        self, whole: Whole, who: int, name: tuple[object, ...], call: Callable[[Process], A]
    ) -> tuple[Whole, A]:
        number, answer = self._processes.step(whole.processes[who], name, call)
        return whole._replace(processes=replaced_in(whole.processes, who, number)), answer

    # A worker by itself

    def _of_worker(self, whole: Whole, who: int) -> Iterator[Edge[Whole]]:
        process = self.process(whole, who)
        recoveries = (
            (not process.alive, "restart", Process.restart),
            (process.suspended, "resume", Process.resume),
            (not process.reachable, "network heals", Process.heal),
            (process.overdue, "guard", Process.guard),
            (process.pauses, "pause is over", Process.try_again),
        )
        for is_due, name, call in recoveries:
            if is_due:
                yield _calm(Event(name, who), self._on_process(whole, who, (name,), call)[0])
        if process.awake:
            for lease_id in sorted(process.running):
                yield _calm(Event("finish", who, lease_id), self._finish(whole, who, lease_id, "finish"))
            yield from self._speaks(whole, who)

    def _speaks(self, whole: Whole, who: int) -> Iterator[Edge[Whole]]:
        """A worker and its stream: what it may say, and the next message that it may hear."""
        process, link = self.process(whole, who), whole.links[who]
        if link is None:
            if process.dials and self.tables(whole).up:
                yield self._says(whole, who, "connect", Process.connect)
            return
        if process.has_state_to_send:
            yield self._says(whole, who, "state", Process.state)
        if process.has_report_to_send:
            yield self._says(whole, who, "report", Process.report)
        if link.down:
            message = link.down[0]
            after, _ = self._on_process(whole, who, ("hear", message), lambda it: it.hear(message))
            yield _calm(Event("hear", who, message), linked(after, who, link._replace(down=link.down[1:])))

    def _finish(self, whole: Whole, who: int, lease_id: str, how: str) -> Whole:
        return self._on_process(whole, who, (how, lease_id), lambda it: it.finish(lease_id, how))[0]

    def _says(self, whole: Whole, who: int, name: str, call: Callable[[Process], ToScheduler]) -> Edge[Whole]:
        after, message = self._on_process(whole, who, (name,), call)
        link = whole.links[who] or Link()
        return _calm(Event(name, who, message), linked(after, who, link._replace(up=(*link.up, message))))

    # The scheduler's end of the streams

    def _of_stream(self, whole: Whole, who: int) -> Iterator[Edge[Whole]]:
        link = whole.links[who]
        if link is None or not self.tables(whole).up:
            return
        if link.up:
            after, taken = self._take(whole, who, link)
            after = after if taken is not None else self._cut(after, who)
            yield _calm(Event("take", who, link.up[0]), after if taken is None else linked(after, who, taken))
        if link.end is not None and link.end.claimed is not None:
            handed = links.handed_over(link)
            yield _calm(Event("assign", who, handed.down[-1]), linked(whole, who, handed))

    def _of_former_stream(self, whole: Whole, who: int) -> Iterator[Edge[Whole]]:
        """A stream that the worker has left. What comes down it is read by nobody."""
        link = whole.former[who]
        if link is None or not self.tables(whole).up:
            return
        if link.up:
            after, taken = self._take(whole, who, link)
            closed = self._closed(after, who, link) if taken is None else None
            after = closed or formerly(after, who, taken and taken._replace(down=()))
            yield _calm(Event("take late", who, link.up[0]), after)
        if link.end is not None and link.end.claimed is not None:
            handed = links.handed_over(link)._replace(down=())
            yield _calm(Event("assign late", who), formerly(whole, who, handed))
        yield _calm(Event("close", who), self._closed(whole, who, link))

    def _closed(self, whole: Whole, who: int, link: Link) -> Whole:
        """The scheduler sees the end of a former stream: what it was not given is taken back."""
        if link.end is not None and link.end.claimed is not None:
            refs = link.end.claimed[1]
            whole, _ = self._on_tables(whole, ("take back", refs), lambda it: self._application.take_back(it, refs))
        return formerly(whole, who, None)

    def _take(self, whole: Whole, who: int, link: Link) -> tuple[Whole, Link | None]:
        """The transaction of a stream's next message; without a link where the stream ends by it."""
        message, worker_id = link.up[0], name_of(who)
        rest = link._replace(up=link.up[1:])
        if isinstance(message, Hello):
            after, opened = self._on_tables(
                whole, ("hello", who, message), lambda it: self._application.hello(it, worker_id, message)
            )
            if opened is None:
                return after, None
            return after, rest._replace(down=(*rest.down, Welcome(opened[1])), end=End(opened[0]))
        assert link.end is not None, "a hello comes first"
        if isinstance(message, Report):
            after, outcomes = self._on_tables(whole, (message,), lambda it: self._application.report(it, message))
            return after, rest._replace(down=(*rest.down, ReportAcknowledged(message.number, outcomes)))
        return self._take_state(whole, who, rest, link.end, message)

    def _take_state(self, whole: Whole, who: int, rest: Link, end: End, state: State) -> tuple[Whole, Link | None]:
        key, worker_id = end.session_key, name_of(who)
        after, not_renewed = self._on_tables(
            whole, ("state", key, state), lambda it: self._application.state(it, worker_id, key, state)
        )
        if not_renewed is None:
            return after, None
        return after, links.stated(rest, end, state, not_renewed)

    def _claims(self, whole: Whole, who: int) -> Iterator[Edge[Whole]]:
        """What the replicas that have a worker's streams may claim for it."""
        former, present = whole.former[who], whole.links[who]
        if not self.tables(whole).claimable:
            return
        if self.scenario.one_replica:
            yield from self._claim(whole, who, "claim", former, present)
        else:
            yield from self._claim(whole, who, "claim", None, present)
            yield from self._claim(whole, who, "claim late", former, None)

    def _claim(
        self, whole: Whole, who: int, name: str, former: Link | None, present: Link | None
    ) -> Iterator[Edge[Whole]]:
        """A claim of one replica, which has these streams, is committed; what it granted is not sent yet."""
        capacities = links.capacities(name_of(who), former, present)
        if not capacities:
            return
        asked = tuple((capacity.session_key, capacity.free) for capacity in capacities)
        after, claimed = self._on_tables(whole, ("claim", asked), lambda it: self._application.claim(it, capacities))
        if former is not None:
            after = formerly(after, who, links.claimed(former, claimed))
        if present is not None:
            after = linked(after, who, links.claimed(present, claimed))
        yield _calm(Event(name, who), after)

    # The rival

    def _of_rival(self, whole: Whole) -> Iterator[Edge[Whole]]:
        tables = self.tables(whole)
        if tables.up and tables.claimable and not whole.rival:
            after, claimed = self._on_tables(
                whole, ("rival claims",), lambda it: self._application.claim(it, [RIVAL_CAPACITY])
            )
            refs = tuple(grant.ref for grant in claimed.grants[RIVAL_SESSION]) if claimed else ()
            yield _calm(Event("the other worker claims", what=refs), after._replace(rival=refs))
        if tables.up and whole.rival:
            report = Report(1, tuple(Word(*named(ref), UpdateKind.COMPLETED) for ref in whole.rival))
            after, _ = self._on_tables(whole, (report,), lambda it: self._application.report(it, report))
            yield _calm(Event("the other worker completes", what=whole.rival), after._replace(rival=()))

    def _rival_renews(self, whole: Whole) -> Whole:
        if not whole.rival or not self.tables(whole).up:
            return whole
        state = State(1, 0, tuple(map(named, whole.rival)), 0)
        after, lost = self._on_tables(
            whole, ("rival", state), lambda it: self._application.state(it, RIVAL, RIVAL_SESSION, state)
        )
        return after._replace(rival=()) if lost else after

    # Faults

    def _faults_of(self, whole: Whole, who: int) -> Iterator[Edge[Whole]]:
        process = self.process(whole, who)
        if process.awake and whole.links[who] is not None:
            if (spent := spend(whole, "cut")) is not None:
                yield Edge(Event("cut", who), self._cut(spent, who), True)
            if (spent := spend(whole, "partition")) is not None:
                parted = self._on_process(self._cut(spent, who), who, ("part",), Process.part)[0]
                yield Edge(Event("network fails", who), parted, True)
            if (spent := spend(whole, "replica")) is not None:
                yield Edge(Event("replica dies", who), formerly(self._cut(spent, who), who, whole.former[who]), True)
        if process.awake and (spent := spend(whole, "kill")) is not None:
            left = self._cut(spent, who) if whole.links[who] is not None else spent
            yield Edge(Event("kill", who), self._on_process(left, who, ("kill",), Process.kill)[0], True)
        if process.awake and (spent := spend(whole, "suspend")) is not None:
            yield Edge(Event("suspend", who), self._on_process(spent, who, ("suspend",), Process.suspend)[0], True)
        for how in ("fail", "ill", "defer") if process.awake and process.running else ():
            if (spent := spend(whole, how)) is not None:
                lease_id = min(process.running)
                yield Edge(Event(how, who, lease_id), self._finish(spent, who, lease_id, how), True)

    def _cut(self, whole: Whole, who: int) -> Whole:
        """The worker sees the end of its stream; the scheduler's end lives on as its former stream."""
        link = whole.links[who]
        after, _ = self._on_process(whole, who, ("cut",), Process.cut)
        return linked(formerly(after, who, link and link._replace(down=())), who, None)

    # The database, clients, time

    def _of_database(self, whole: Whole) -> Iterator[Edge[Whole]]:
        tables = self.tables(whole)
        if not tables.up:
            yield _calm(Event("database returns"), self._rival_renews(self._on_tables(whole, ("up",), set_up)[0]))
            return
        if tables.stamp < 0 or tables.expired:
            yield _calm(Event("reaper"), self._on_tables(whole, ("reap",), self._application.reap)[0])
        if tables.delayed:
            yield _calm(Event("due"), self._on_tables(whole, ("due",), self._application.promote)[0])
        if (admitted := self._admitted(whole)) is not None:
            yield _calm(Event("admission"), admitted)
        if (spent := spend(whole, "outage")) is not None:
            for who in self._workers:
                spent = formerly(self._cut(spent, who) if whole.links[who] else spent, who, None)
            yield Edge(Event("database goes away"), self._on_tables(spent, ("down",), set_down)[0], True)
        if (spent := spend(whole, "jump")) is not None:
            yield Edge(Event("database clock jumps"), self._on_tables(spent, ("jump",), jump)[0], True)

    def _admitted(self, whole: Whole) -> Whole | None:
        """After the admission loop's transaction; None where that changes nothing."""
        if not any(self.scenario.limits):
            return None
        after, _ = self._on_tables(whole, ("admit",), self._application.admit)
        return None if after == whole else after

    def _of_clients(self, whole: Whole) -> Iterator[Edge[Whole]]:
        """CancelTask with force, RetryTask; and the scheduler finds that a run has taken too long."""
        tables, application = self.tables(whole), self._application
        for task, record in tables.tasks.items() if tables.up else ():
            calls = (
                ("cancel", record.status is Status.PENDING, application.cancel),
                ("timeout", task in tables.leases, application.reap),
                ("retry", record.status is Status.FAILED, application.retry),
            )
            for name, is_possible, call in calls:
                if is_possible and (spent := spend(whole, name)) is not None:
                    after, _ = self._on_tables(spent, (name, task), partial(_of_task, call=call, task=task))
                    yield Edge(Event(name, what=task), after, True)
        if tables.up and (spent := spend(whole, "limit")) is not None:
            tasks = self.scenario.limits[-1 - spent.budget[FAULTS.index("limit")]]
            after, _ = self._on_tables(spent, ("limit", tasks), lambda it: application.limit(it, tasks))
            yield Edge(Event("limit", what=tasks), after, True)

    def _of_time(self, whole: Whole) -> Iterator[Edge[Whole]]:
        """A unit of time: free when nothing is pending, else somebody was slow; never while a guard has to act."""
        if any(self.process(whole, who).overdue for who in self._workers):
            return
        pending = self._is_pending(whole)
        spent = spend(whole, "slow") if pending else whole
        if spent is not None:
            yield Edge(Event("time passes"), self._later(spent, database=True), pending)
        if (spent := spend(whole, "stand")) is not None:
            yield Edge(Event("time passes, the database's clock stands"), self._later(spent, database=False), True)

    def _is_pending(self, whole: Whole) -> bool:
        tables = self.tables(whole)
        if tables.up and (tables.stamp < 0 or self._admitted(whole) is not None):
            return True
        return any(self._has_pending(whole, tables, who) for who in self._workers)

    def _has_pending(self, whole: Whole, tables: Tables, who: int) -> bool:
        process, link = self.process(whole, who), whole.links[who]
        if link is None:
            return process.dials and tables.up
        if link.up or (link.down and process.awake) or (link.end and link.end.claimed):
            return True
        if process.has_state_to_send or process.has_report_to_send:
            return True
        return bool(tables.claimable and link.end and link.end.stock.thawed().free(0.0))

    def _later(self, whole: Whole, *, database: bool) -> Whole:
        whole = self._rival_renews(whole)
        whole, _ = self._on_tables(whole, ("tick", database), pass_time if database else stand)
        for who in self._workers:
            whole = self._renumbered(whole, who)
            whole, _ = self._on_process(whole, who, ("tick",), lambda it: it.pass_time(1.0))
            whole = linked(whole, who, links.aged(whole.links[who]))
            whole = formerly(whole, who, links.aged(whole.former[who]))
        return whole

    def _renumbered(self, whole: Whole, who: int) -> Whole:
        """The numbers of a stream on which nothing is under way begin anew: only differences matter."""
        link, stream = whole.links[who], self.process(whole, who).stream
        if link is None or stream is None or link.up or link.down or link.end is None or link.end.claimed:
            return whole
        if not stream.welcomed or stream.heartbeat_number < 2:
            return whole
        whole, (states, assignments) = self._on_process(whole, who, ("renumber",), Process.renumber)
        return linked(whole, who, links.renumbered(link, states, assignments))


def name_of(who: int) -> str:
    """A worker's id."""
    return "AB"[who]


def _calm(event: Event, target: Whole) -> Edge[Whole]:
    return Edge(event, target, False)


def _of_task(tables: Tables, *, call: Callable[[Tables, int], None], task: int) -> None:
    call(tables, task)
