"""The simulation's parts: time, CPU, group commit, pauses; no task is lost, and a seed decides everything."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from lab.benchmarks.stack import Cpu
from lab.simulation.costs import Costs, ceilings, load
from lab.simulation.fleet import Address, Surroundings, Worker
from lab.simulation.machine import Clock, Cores, Database, Entry, GroupLane, Interpreter, Process
from lab.simulation.system import LoadedCell, Sizes
from scheduler_svc.replica.replica import MAX_GROUP_WEIGHT
from worker_svc.session.channel import DEFAULT_MAX_PAUSE, MIN_BOUND

pytestmark = pytest.mark.unit

SOME = Cpu(0.0005, 0.0005)
_COSTS: dict[str, Any] = (
    {cost.name: SOME if cost.type == "Cpu" else 0.001 for cost in fields(Costs)}
    | {"rest": Cpu(0.01, 0.01), "others": 0.0, "task_ahead": 0.0001, "client_task": 0.0001, "worker_run": 0.0001}
    | {"submit_inside": 1.0, "claim_inside": 0.5, "report_inside": 1.0}
)
COSTS = Costs(**_COSTS)
SIZES = Sizes(workers=20, slots=2, seconds=5.0)


def test_two_jobs_share_one_core() -> None:
    clock = Clock()
    over: list[float] = []
    cores = Cores(clock, 1)
    for name in ("a", "b"):
        cores.use(0.1, name)(lambda: over.append(clock.now))
    clock.run()
    assert over == pytest.approx([0.198, 0.2])
    assert cores.used == pytest.approx({"a": 0.1, "b": 0.1})


def test_one_thread_of_a_python_process_runs_at_a_time() -> None:
    clock = Clock()
    process, over = Interpreter(clock, Cores(clock, 4), "process"), dict[str, float]()
    process.use(0.1, "loop")(lambda: over.update(loop=clock.now))
    process.use(0.01, "lane")(lambda: over.update(lane=clock.now))
    clock.run()
    assert over == pytest.approx({"loop": 0.11, "lane": 0.02})


def test_a_killed_process_does_nothing_more() -> None:
    clock = Clock()
    process, over = Interpreter(clock, Cores(clock, 1), "process"), []
    process.use(0.1)(lambda: over.append(1))
    process.end()
    process.use(0.1)(lambda: over.append(2))
    clock.run()
    assert over == []


def _commit(clock: Clock, groups: list[list[int]], items: list[int]) -> Process[bool]:
    groups.append(items)
    yield clock.wait(0.01)
    return True


def test_what_comes_during_a_transaction_is_the_next_one() -> None:
    clock, groups, answers = Clock(), list[list[int]](), list[bool]()
    lane = GroupLane(clock, partial(_commit, clock, groups))
    for number in range(5):
        clock.after(number * 0.001, partial(lane.put, Entry(number, 1, clock.now, answers.append)))
    clock.run()
    assert groups == [[0], [1, 2, 3, 4]]
    assert answers == [True] * 5


def test_a_group_has_the_products_bound() -> None:
    clock, groups = Clock(), list[list[int]]()
    lane = GroupLane(clock, partial(_commit, clock, groups))
    for _ in range(11):
        lane.put(Entry(500, 500, clock.now, lambda _: None))
    clock.run()
    assert list(map(sum, groups)) == [500, *[MAX_GROUP_WEIGHT] * 2, 1_000]


def test_a_worker_pauses_as_the_products_worker_does() -> None:
    random.seed(1)
    clock, tried = Clock(), []

    class Refused(Worker):
        def connect(self) -> None:
            tried.append(clock.now)
            super().connect()

    around = Surroundings(clock, COSTS, Database(clock, Cores(clock, 1)))
    Refused(around, [Address()]).connect()
    clock.run(60)
    pauses = [b - a for a, b in pairwise(tried)]
    bounds = [min(DEFAULT_MAX_PAUSE, MIN_BOUND * 2**n) for n in range(len(pauses))]
    assert all(pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert max(pauses) > DEFAULT_MAX_PAUSE / 2


def _troubled(seed: int) -> LoadedCell:
    """A cell that loses a scheduler, then all of them, then its database, and has time to finish what it was given."""
    random.seed(seed)
    loaded = LoadedCell(COSTS, SIZES, SIZES.workers, 2, cores=2)
    loaded.clock.run(20)
    loaded.kill(0)
    loaded.clock.run(25)
    loaded.start(loaded.addresses[0])
    loaded.kill_all()
    loaded.clock.run(27)
    loaded.start_all()
    loaded.clock.run(40)
    loaded.database.away = True
    loaded.clock.run(50)
    loaded.database.away = False
    loaded.clock.run(60)
    loaded.arrivals.stop()
    loaded.clock.run(180)
    return loaded


def test_no_task_is_lost_or_done_twice() -> None:
    loaded = _troubled(seed=3)
    first = round(0.8 * SIZES.workers * SIZES.slots)
    assert loaded.connected == SIZES.workers
    assert loaded.database.stored == loaded.arrivals.submitted + first > 300
    assert loaded.database.completed == loaded.database.stored
    assert (loaded.held, loaded.arrivals.waiting, len(loaded.database.ready)) == (0, 0, 0)


def test_runs_that_cannot_be_renewed_are_stopped() -> None:
    random.seed(1)
    loaded = LoadedCell(COSTS, replace(SIZES, seconds=600.0), SIZES.workers, 1, cores=2)
    loaded.clock.run(40)
    loaded.vanish()
    loaded.clock.run(130)  # 90 s, as the documents promise
    assert loaded.stopped == 0
    loaded.clock.run(155)
    assert loaded.stopped > SIZES.workers


def test_the_same_seed_gives_the_same_figures() -> None:
    runs = [_troubled(seed) for seed in (5, 5, 6)]
    figures = [(loaded.arrivals.latencies, loaded.hellos, loaded.load()) for loaded in runs]
    assert figures[0] == figures[1] != figures[2]


def test_the_kept_costs_allow_what_the_document_says() -> None:
    rates = [f"{row['tasks/s']:,.0f}" for row in ceilings(load())]  # lab/results/scaling.md, "What breaks first"
    assert rates == ["12,039", "48,156", "192,624", "846", "3,383", "13,533"]
