"""An account with a limit, and transactions side by side that let tasks in, claim and end them.

Part of `lab.model`.

The other half of the model: there a transaction is one step, here each statement of it is one (`transactions.py`), and
there are neither streams nor workers: what is claimed may be reported at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from lab.model import properties
from lab.model.database import transaction
from lab.model.explore import Edge, Event, Parts
from lab.model.scheduler import DEFECTS, defect_text
from lab.model.tables import ACCOUNT, SETTINGS, TTL, SessionRecord, Tables, submitted
from lab.model.transactions import Row, UnderWay, Work, advanced, commit
from scheduler_svc.accounts.work import update_account
from scheduler_svc.dispatch.admission import settle
from scheduler_svc.dispatch.work import SessionCapacity, claim
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptCompleted, LeaseEnd, LeaseUpdate
from scheduler_svc.domain.lifecycle import OPEN, Status
from scheduler_svc.domain.task import SCHEDULED
from scheduler_svc.leases.recover import promote_due, reap
from scheduler_svc.leases.report import ReportItem, ReportWork, UnsentLeases
from scheduler_svc.tasks.change import cancel_task

WORKER, SESSION = "A", 1


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many tasks, what may happen to them, and how many transactions are under way at most."""

    name: str
    shows: str
    faults: dict[str, int] = field(default_factory=dict)
    tasks: int = 2
    limits: tuple[int, ...] = (1,)
    at_once: int = 2
    scheduled: bool = False
    """Whether the tasks wait for a time first, of an account that never had one ready."""


class Call(NamedTuple):
    """A transaction's name: what it does, and on which replica, or for which lease, or with which new limit."""

    kind: str
    replica: int = -1
    lease: LeaseRef = LeaseRef(0, 0, 0)
    limit: int = 0


class Traffics(NamedTuple):
    """A state: the tables, what may still happen once more, and what is under way."""

    tables: int
    budget: tuple[tuple[str, int], ...]
    under_way: tuple[tuple[Call, int], ...] = ()


class Interleaving:
    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._tables: Parts[Tables] = Parts()
        self._transactions: Parts[UnderWay] = Parts()
        self._steps: dict[tuple[int, Call, int, frozenset[Row]], int | str | None] = {}

    # The system

    def initial(self) -> Traffics:
        tables = submitted(self._traffic.tasks, 0, self._traffic.limits[0])
        tables.sessions[WORKER] = SessionRecord(SESSION, 1)
        if self._traffic.scheduled:
            tables.delayed, tables.ready, tables.shares = dict.fromkeys(tables.ready, (1, SCHEDULED)), {}, {}
        return Traffics(self._tables.number(tables), tuple(self._traffic.faults.items()))

    def edges(self, state: Traffics) -> Iterator[Edge[Traffics]]:
        for place in range(len(state.under_way)):
            yield from self._goes_on(state, place)
        if len(state.under_way) < self._traffic.at_once:
            yield from self._begins(state)
        if self.tables(state).leases and (expired := _spend(state, "expire")) is not None:
            number, _ = self._tables.step(state.tables, "expire", lambda tables: tables.pass_time(TTL + 1, TTL + 1))
            yield Edge(Event("leases expire"), expired._replace(tables=number), True)

    def wrong(self, state: Traffics) -> str | None:
        tables = self.tables(state)
        return tables.broken or (properties.OVER_LIMIT if tables.over_limit else None)

    def settled(self, state: Traffics) -> bool:
        tables = self.tables(state)
        return not (state.under_way or tables.leases or any(task.status in OPEN for task in tables.tasks.values()))

    def tables(self, state: Traffics) -> Tables:
        return self._tables[state.tables]

    def transaction(self, number: int) -> UnderWay:
        return self._transactions[number]

    def statements(self) -> set[str]:
        """Returns the statements that ran in what was explored, and the calls that had to wait, as "claim waits"."""
        calls = {name for progress in self._transactions for name in progress.statements}
        return calls | {f"{call.kind} waits" for (_, call, *_), after in self._steps.items() if after is None}

    # What may begin

    def _begins(self, state: Traffics) -> Iterator[Edge[Traffics]]:
        calls = {call for call, _ in state.under_way}
        for call, fault in self._possible(state):
            start = _spend(state, fault) if fault else state
            if start is not None and call not in calls:
                start = start._replace(under_way=(*state.under_way, (call, self._transactions.number(UnderWay()))))
                yield from self._goes_on(start, len(state.under_way), fault=fault is not None)

    def _possible(self, state: Traffics) -> Iterator[tuple[Call, str | None]]:
        """Yields each call that there is a reason for, and what it uses up of the things that may happen so often."""
        tables = self.tables(state)
        admitted, _ = self._tables.step(state.tables, "admission", lambda copy: settle(transaction(copy), ACCOUNT))
        for replica in range(2):
            if admitted != state.tables:
                yield Call("admission", replica), None
            if tables.claimable:
                yield Call("claim", replica), None
        for lease in tables.leases.values():
            yield Call("report", lease=lease.ref), None
            yield Call("release", lease=lease.ref), "release"
            yield Call("cancel", lease=lease.ref), "cancel"
        for key, task in tables.tasks.items():
            if (task.status, task.lease_end) == (Status.PENDING, LeaseEnd.LOST) and key not in tables.leases:
                yield Call("report", lease=LeaseRef(key, task.attempt, task.fence or 0)), "late"
        if tables.expired:
            yield Call("reaper"), None
        if tables.delayed.keys() - tables.leases.keys():
            yield Call("due"), None
        limits, changes = self._traffic.limits, self._traffic.faults.get("limit", 0)
        yield Call("limit", limit=limits[(1 + changes - dict(state.budget).get("limit", 0)) % len(limits)]), "limit"

    # What goes on

    def _goes_on(self, state: Traffics, place: int, *, fault: bool = False) -> Iterator[Edge[Traffics]]:
        """Yields the next statement of a transaction, or its commit; nothing while it waits for a row."""
        call, number = state.under_way[place]
        other_calls = (*state.under_way[:place], *state.under_way[place + 1 :])
        event = Event(call.kind, call.replica, (call, number))
        if self._transactions[number].ended:
            tables, _ = self._tables.step(
                state.tables, (call.kind, number), lambda copy: self._commit(copy, call, number)
            )
            yield Edge(event, state._replace(tables=tables, under_way=other_calls), fault)
            return
        held_rows = frozenset().union(*(self._transactions[neighbour].held for _, neighbour in other_calls))
        after = self._after(state.tables, call, number, held_rows)
        if isinstance(after, int):
            under_way = (*state.under_way[:place], (call, after), *state.under_way[place + 1 :])
            yield Edge(event, state._replace(under_way=under_way), fault)
        elif after is not None:
            step = ("broken", after)
            tables, _ = self._tables.step(state.tables, step, lambda copy: setattr(copy, "broken", after))
            yield Edge(event, state._replace(tables=tables, under_way=other_calls), fault)

    def _after(self, tables: int, call: Call, number: int, held_rows: frozenset[Row]) -> int | str | None:
        """Returns the transaction's number after its next statement; None where that waits, a text where given up."""
        key = (tables, call, number, held_rows)
        if key not in self._steps:
            self._steps[key] = self._computed(*key)
        return self._steps[key]

    def _computed(self, tables: int, call: Call, number: int, held_rows: frozenset[Row]) -> int | str | None:
        try:
            progress = advanced(_work(call), self._transactions[number], partial(self._tables.copy, tables), held_rows)
        except DomainError:
            return ""
        except DEFECTS as defect:
            return defect_text(defect)
        return None if progress is None else self._transactions.number(progress)

    def _commit(self, tables: Tables, call: Call, number: int) -> None:
        commit(tables, self._transactions[number])
        if call.kind == "claim" and self._transactions[number].writes:
            tables.note_claim()


def _work(call: Call) -> Work:
    ref = call.lease
    completed = LeaseUpdate(ref.lease_id, ref.attempt, ref, AttemptCompleted(TaskResult("a body")))
    reports = ReportWork(SETTINGS)
    works: dict[str, Work] = {
        "admission": lambda tx: settle(tx, ACCOUNT),
        "claim": lambda tx: claim(tx, [SessionCapacity(WORKER, SESSION, 1, 1)], 1, TTL),
        "report": lambda tx: reports.run_group(tx, [ReportItem((completed,))]),
        "release": lambda tx: reports.run_group(tx, [UnsentLeases((ref,))]),
        "cancel": lambda tx: cancel_task(tx, ref.task_key, force=True),
        "reaper": lambda tx: reap(tx, SETTINGS),
        "due": promote_due,
        "limit": lambda tx: update_account(tx, ACCOUNT, AccountChange(max_concurrent_tasks=call.limit)),
    }
    return works[call.kind]


def _spend(state: Traffics, action: str) -> Traffics | None:
    """Returns the state in which this may happen one time less; None where it may not happen any more."""
    budget = dict(state.budget)
    if not budget.get(action):
        return None
    return state._replace(budget=tuple((budget | {action: budget[action] - 1}).items()))
