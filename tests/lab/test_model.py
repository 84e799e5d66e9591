"""The lease protocol, model-checked, and the checker itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from lab.model import diagrams, properties
from lab.model.__main__ import summary
from lab.model.explore import DEADLOCK, LIVELOCK, Edge, Event, Parts, RolledBack, explore
from lab.model.interleaving import SESSION, WORKER, Interleaving, Traffic
from lab.model.mutants import MUTANTS, Mutant
from lab.model.properties import Scenario
from lab.model.scenarios import SMALL, system
from lab.model.system import Model
from lab.model.tables import ACCOUNT, TTL, ReadyRecord, SessionRecord, Tables, submitted
from lab.model.transactions import UnderWay, Work, advanced, commit
from scheduler_svc.accounts.work import update_account
from scheduler_svc.dispatch.admission import settle
from scheduler_svc.dispatch.work import SessionCapacity, claim
from scheduler_svc.domain import lease as rules
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.clock import ClockWatch
from scheduler_svc.domain.errors import InvalidState
from scheduler_svc.domain.lease import HelloVerdict, Verdict
from scheduler_svc.leases import attempts as reporters
from scheduler_svc.leases import sessions
from scheduler_svc.tasks.change import cancel_task
from scheduler_svc.transactions import Tx
from worker_svc.session.leases import Lease, LeaseBook

pytestmark = pytest.mark.lab


# The lease protocol, model-checked: silence with every rule on, a counter-example with each one off.


STATES = 5_000
"""Of a scenario, about, the shallow ones first. `make model` goes on to a million of each."""
DEEP = 20
"""Steps from the first state that it takes at least. Most mutants show within so many."""


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_every_property_holds_in_every_state(
    scenario: Scenario | Traffic, record_property: Callable[[str, str], None]
) -> None:
    result = explore(system(scenario), limit=STATES)
    record_property("walked", f"{scenario.name}: {summary(result)}")
    assert result.counter_example is None
    assert result.complete or result.depth >= DEEP


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_rule_taken_out_is_found_and_documented(mutant: Mutant, record_property: Callable[[str, str], None]) -> None:
    model, result = mutant.explore()
    record_property("walked", f"{mutant.name}: {summary(result)}")
    assert result.counter_example is not None
    assert result.counter_example.wrong == mutant.shows_as
    text = diagrams.section(mutant, model, result.counter_example)
    assert text in diagrams.DOCUMENT.read_text(), "run python -m lab.model.diagrams --write"


def test_the_fence_asks_no_clock() -> None:
    """However far the database's clock runs ahead, and whatever runs then, one result at most is accepted."""
    with patch.object(ClockWatch, "gained", lambda *_: 0.0), patch.object(properties, "_wrong_runs", lambda *_: None):
        result = explore(Model(Scenario("jumps", "", {"jump": 2}, rival=True)))
    assert result.counter_example is None
    assert result.complete


def test_the_models_reach_every_decision() -> None:
    """What no state reaches would hold for nothing."""
    reached: set[Verdict | HelloVerdict] = set()

    def recorded(judge: Callable[..., Any]) -> Callable[..., Any]:
        def judged(*arguments: Any) -> Any:
            verdict = judge(*arguments)
            reached.add(verdict)
            return verdict

        return judged

    with (
        patch.object(reporters, "judge", recorded(rules.judge)),
        patch.object(sessions, "judge_hello", recorded(rules.judge_hello)),
    ):
        for scenario in SMALL:
            if scenario.name in {"suspend", "cancel"}:
                explore(system(scenario), limit=STATES)
    assert reached == {*Verdict, HelloVerdict.OPEN, HelloVerdict.STALE}, "workers' ids are not shared in the model"


# The checker itself, on systems whose states are numbers.


class Numbers:
    """Steps from number to number, an action for each target; those in `faults` are faults.

    It starts at 0, and is settled at 9.
    """

    def __init__(self, steps: Mapping[int, list[int]], faults: Mapping[int, list[int]], wrong: int = -1) -> None:
        self._steps = steps
        self._faults = faults
        self._wrong = wrong

    def initial(self) -> int:
        return 0

    def edges(self, state: int) -> Iterator[Edge[int]]:
        for target in self._steps.get(state, []):
            yield Edge(Event("step", target), target, False)
        for target in self._faults.get(state, []):
            yield Edge(Event("fault", target), target, True)

    def wrong(self, state: int) -> str | None:
        return "wrong" if state == self._wrong else None

    def settled(self, state: int) -> bool:
        return state == 9


def test_exploring_reaches_every_reachable_state() -> None:
    result = explore(Numbers({0: [1, 2], 1: [9], 2: [2, 9], 7: [8]}, {}))
    assert (result.states, result.edges, result.complete, result.counter_example) == (4, 5, True, None)


def test_a_counter_example_is_a_shortest_one_over_faults_too() -> None:
    counter_example = explore(Numbers({0: [1], 1: [2], 2: [5], 5: [9]}, {1: [5]}, wrong=5)).counter_example
    assert counter_example is not None
    assert [(event.name, state) for event, state in counter_example.steps] == [("step", 1), ("fault", 5)]


NESTED = {0: [1, 5], 1: [2], 2: [1, 3], 3: [0], 5: [0]}


@pytest.mark.parametrize(
    ("steps", "faults", "wrong", "path"),
    [
        pytest.param({0: [1, 9], 1: [2], 2: [1]}, {2: [9]}, DEADLOCK, [1], id="only a fault leaves them"),
        pytest.param({0: [1], 1: [2], 2: [3], 3: [1, 9]}, {}, LIVELOCK, [1], id="the way out is not always there"),
        pytest.param(NESTED | {3: [0, 9]}, {}, LIVELOCK, [], id="rounds within rounds are one"),
    ],
)
def test_a_run_that_need_not_end_is_found(
    steps: Mapping[int, list[int]], faults: Mapping[int, list[int]], wrong: str, path: list[int]
) -> None:
    counter_example = explore(Numbers(steps, faults)).counter_example
    assert counter_example is not None
    assert (counter_example.wrong, [state for _, state in counter_example.steps]) == (wrong, path)


@pytest.mark.parametrize(
    ("steps", "faults"),
    [
        pytest.param({0: [1], 1: [2, 9], 2: [1, 9]}, {}, id="something else stays possible"),
        pytest.param({0: [0, 9]}, {}, id="the same of one state"),
        pytest.param({source: [*targets, 9] for source, targets in NESTED.items()}, {}, id="of rounds within rounds"),
        pytest.param({0: [1], 1: [9]}, {1: [0]}, id="a fault is no way round"),
    ],
)
def test_going_round_for_ever_may_be_unfair(steps: Mapping[int, list[int]], faults: Mapping[int, list[int]]) -> None:
    assert explore(Numbers(steps, faults)).counter_example is None


def test_states_beyond_the_bound_are_not_judged() -> None:
    stuck = Numbers({0: [1], 1: [2], 2: [3], 3: [3]}, {})
    assert explore(stuck, depth=2).counter_example is None
    assert not explore(stuck, depth=2).complete
    assert explore(stuck, limit=2).counter_example is None
    assert explore(stuck).counter_example is not None


@pytest.mark.parametrize(
    ("wrong", "depth", "limit"),
    [
        pytest.param(2, 2, STATES, id="after the last step"),
        pytest.param(0, 0, STATES, id="the first one, without a step"),
        pytest.param(0, None, 1, id="the first one, which is all"),
    ],
)
def test_a_wrong_state_at_the_bound_is_found(wrong: int, depth: int | None, limit: int) -> None:
    result = explore(Numbers({0: [1], 1: [2]}, {}, wrong), depth=depth, limit=limit)
    assert result.counter_example is not None
    assert result.counter_example.wrong == "wrong"
    assert not result.complete


# Parts of states as numbers: what is alike is one, and a step changes nothing but what it makes.


def test_equal_parts_have_one_number_and_the_order_of_a_mapping_counts() -> None:
    parts: Parts[dict[str, int]] = Parts()
    assert parts.number({"a": 1, "b": 2}) == parts.number({"a": 1, "b": 2})
    assert parts.number({"b": 2, "a": 1}) != parts.number({"a": 1, "b": 2})


def test_objects_of_production_are_told_apart_by_all_that_is_in_them() -> None:
    parts: Parts[LeaseBook] = Parts()
    books = [LeaseBook(), LeaseBook(), LeaseBook()]
    for book, deadline in zip(books, (1.0, 1.0, 2.0), strict=True):
        book.assign(Lease("lease", 1, "task", 1.0, 0.0, deadline))
    first, second, third = map(parts.number, books)
    assert first == second != third


def test_a_step_works_on_a_copy_and_is_computed_once() -> None:
    parts: Parts[list[int]] = Parts()
    begin, calls = parts.number([1]), []

    def push(value: list[int]) -> str:
        calls.append(len(value))
        value.append(2)
        return "pushed"

    assert parts.step(begin, "push", push) == parts.step(begin, "push", push)
    assert (parts[begin], parts[parts.step(begin, "push", push)[0]], calls) == ([1], [1, 2], [1])


def test_a_step_that_is_rolled_back_changes_nothing() -> None:
    parts: Parts[list[int]] = Parts()
    begin = parts.number([1])

    def give_up(value: list[int]) -> None:
        value.clear()
        raise RolledBack

    assert parts.step(begin, "give up", give_up) == (begin, None)
    assert parts[begin] == [1]


# Transactions beside each other: what a statement sees, what it waits for, what it skips, and what its commit does.


NOBODY: frozenset[tuple[str, int]] = frozenset()


class Database:
    """What is committed, and transactions on it that a test takes on by hand."""

    def __init__(self, *tagged: bool, limit: int) -> None:
        self.tables = submitted(len(tagged), 0, limit)
        self.tables.ready = {key: ReadyRecord(1, is_tagged) for key, is_tagged in enumerate(tagged, start=1)}
        self.tables.sessions = {WORKER: SessionRecord(SESSION, 1)}

    def step(self, work: Work, transaction: UnderWay, beside: UnderWay | None = None) -> UnderWay | None:
        parts: Parts[Tables] = Parts()
        return advanced(
            work, transaction, partial(parts.copy, parts.number(self.tables)), beside.held if beside else NOBODY
        )

    def until(self, work: Work, statement: str) -> UnderWay:
        """A transaction as far as such a statement, that one included."""
        transaction: UnderWay | None = UnderWay()
        while transaction is not None and statement not in transaction.statements:
            transaction = self.step(work, transaction)
        assert transaction is not None
        return transaction

    def tagged(self) -> list[int]:
        return sorted(key for key, row in self.tables.ready.items() if row.tagged)


def admit(tx: Tx) -> None:
    settle(tx, ACCOUNT)


def take_one(tx: Tx) -> None:
    claim(tx, [SessionCapacity(WORKER, SESSION, 1, 1)], 1, TTL)


def limit_to_one(tx: Tx) -> None:
    update_account(tx, ACCOUNT, AccountChange(max_concurrent_tasks=1))


def test_writes_are_invisible_before_the_commit() -> None:
    database = Database(False, limit=1)
    transaction = database.until(admit, "window.admit")
    assert transaction.ended
    assert database.tagged() == []
    commit(database.tables, transaction)
    assert database.tagged() == [1]


def test_a_statement_sees_what_is_committed_by_then() -> None:
    database = Database(True, True, limit=2)
    lowers = database.until(limit_to_one, "window.lock")
    commit(database.tables, database.until(take_one, "leases.claim"))
    counted = database.step(limit_to_one, lowers)
    assert counted is not None
    assert counted.answers[-1].leases == 1


def test_a_row_that_another_one_holds_is_waited_for() -> None:
    database = Database(False, limit=1)
    first = database.until(admit, "window.lock")
    assert database.step(admit, UnderWay(), beside=first) is None


def test_a_claim_skips_what_another_one_takes() -> None:
    database = Database(True, True, limit=2)
    first = database.until(take_one, "leases.claim")
    second = database.step(take_one, UnderWay(), beside=first)
    assert second is not None
    assert [row for row in first.writes if row[0] == "leases"] == [("leases", 1)]
    assert [row for row in second.writes if row[0] == "leases"] == [("leases", 2)]


def test_a_waiting_transaction_acts_on_its_earlier_read_and_finds_the_remaining_rows() -> None:
    database = Database(True, True, limit=2)
    claims = database.until(take_one, "leases.claim")
    chose = database.step(limit_to_one, database.until(limit_to_one, "window.account_queue"))
    assert chose is not None
    assert chose.seen == ([2],)
    commit(database.tables, claims)
    took_out = database.step(limit_to_one, chose)
    assert took_out is not None
    commit(database.tables, took_out)
    assert database.tagged() == []


def test_the_model_refuses_what_the_application_refuses() -> None:
    database = Database(True, limit=1)
    commit(database.tables, database.until(take_one, "leases.claim"))
    with pytest.raises(InvalidState):
        database.until(partial(cancel_task, task_key=1, force=False), "leases.revoke")


def test_the_models_reach_every_statement_that_limits_are_kept_by() -> None:
    """What no state reaches would hold for nothing."""
    reached: set[str] = set()
    for traffic in SMALL:
        if isinstance(traffic, Traffic):
            model = Interleaving(traffic)
            explore(model)
            reached |= model.statements()
    window = {f"window.{statement}" for statement in ("close", "lock", "account_queue", "admit", "untag", "mark")}
    others = {"leases.claim", "leases.complete", "leases.delete", "leases.revoke", "waiting.reserve", "accounts.update"}
    assert reached >= window | others
    assert reached >= {"admission waits", "limit waits", "due waits"}
