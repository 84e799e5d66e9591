"""The simulation's parts: time, CPU, group commit, pauses; no task is lost, and a seed decides everything."""

from __future__ import annotations

import random
from dataclasses import astuple, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab.benchmarks.stack import Cpu
from lab.simulation import costs as files
from lab.simulation.calibration import FLEETS, RATES, SAMPLES, SHAPES
from lab.simulation.cell import Fleet, Groups, Idle, Measured, Paced, Reading, Used, calmest
from lab.simulation.check import Compared, middle
from lab.simulation.costs import Costs
from lab.simulation.database import Database, Entry, GroupLane
from lab.simulation.derivation import derive
from lab.simulation.fleet import Address, Surroundings, Worker
from lab.simulation.machine import Clock, Cores, Interpreter, Process
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

    around = Surroundings(clock, replace(COSTS, refused=0.0), Database(clock, Cores(clock, 1)))
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
    loaded.cell.start(loaded.cell.addresses[0])
    loaded.kill_all()
    loaded.clock.run(27)
    loaded.start_all()
    loaded.clock.run(40)
    loaded.cell.database.away = True
    loaded.clock.run(50)
    loaded.cell.database.away = False
    loaded.clock.run(60)
    loaded.arrivals.stop()
    loaded.clock.run(180)
    return loaded


def test_no_task_is_lost_or_done_twice() -> None:
    loaded = _troubled(seed=3)
    first = round(0.8 * SIZES.workers * SIZES.slots)
    assert loaded.connected == SIZES.workers
    assert loaded.cell.database.stored == loaded.arrivals.submitted + first > 300
    assert loaded.cell.database.completed == loaded.cell.database.stored
    assert (loaded.held, loaded.arrivals.waiting, len(loaded.cell.database.ready)) == (0, 0, 0)


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


def _measured(others: float) -> Measured:
    """So many cores went to others; the other figures are smaller then."""
    cpu = 1.0 / others
    used = Used(Reading(1.0, Cpu(cpu, cpu), {}, 0.0, 3 * cpu + others), cpu)
    fleet = Fleet(10, used, used, cpu)
    return Measured(used, [(used, used)], [Paced(used, 1, 1.0, [1.0])], Idle(used, cpu), [fleet], cpu, cpu)


def test_of_each_part_the_calmest_round_counts() -> None:
    busy, calm = _measured(0.5), _measured(0.25)
    mixed = replace(busy, rest=calm.rest, fleets=[replace(busy.fleets[0], connecting=calm.rest)])
    assert calmest([busy, mixed]) == mixed
    assert calmest([busy, calm, mixed]) == replace(calm, hello_s=busy.hello_s, refused=busy.refused)


_RESTED = Used(Reading(1.0, Cpu(0.0, 0.0), {"reports": Groups(1, 10, 0.0)}, 0.0, 0.0), 0.0)


def _priced(report: float) -> Measured:
    """What it is if a call, a task and a group cost a millisecond each, but a group of reports `report` seconds."""

    def used(counted: float, submits: int = 0, claims: int = 0, reports: int = 0) -> Used:
        cpu = 0.001 * (counted + submits + claims) + report * reports
        counts = {"submits": submits, "claims": claims, "reports": reports}
        groups = {lane: Groups(count, 0, cpu) for lane, count in counts.items()}
        return Used(Reading(1.0, Cpu(cpu, cpu), groups, 0.0, 2 * cpu), cpu)

    loads = [used(shape.tasks + shape.tasks / shape.batch, submits=2_000 * n) for n, shape in enumerate(SHAPES)]
    drains = [used(0, claims=1_000 * (1 + n), reports=1_000 * (1 + n**2)) for n in range(len(SHAPES))]
    paced = [Paced(used(2 * 100, 100, 100, 300), 100, rate, [1.0]) for rate in RATES]
    idle = Idle(used(2 * SAMPLES, SAMPLES, SAMPLES, SAMPLES), 10.0)
    fleets = [Fleet(count, _RESTED, _RESTED, 0.0) for count in FLEETS]
    return Measured(_RESTED, list(zip(loads, drains, strict=True)), paced, idle, fleets, 0.0, 0.0)


def test_costs_are_those_that_the_loads_had() -> None:
    costs = derive(_priced(0.002))
    pairs = [astuple(part) for part in (costs.call, costs.task, costs.submits, costs.claims)]
    assert pairs == [pytest.approx((0.001, 0.001), rel=0.05)] * 4
    assert astuple(costs.reports) == pytest.approx((0.002, 0.002), rel=0.05)


def test_a_transaction_may_have_no_price() -> None:
    costs = derive(_priced(-0.0001))  # as where the host's pace rises with the reports
    assert astuple(costs.reports) == (0.0, 0.0)
    assert costs.report_inside == 1.0


def test_a_figure_is_as_far_off_as_in_its_middle_round() -> None:
    rounds = [[Compared("a", "s", 10.0, simulated, 0.0)] for simulated in (19.0, 8.0, 12.0)]
    [figure] = middle(rounds)
    document = figure.document()
    assert (document["simulated"], document["deviation"], document["least"], document["most"]) == pytest.approx(
        (12.0, 0.2, -0.2, 0.9)
    )
    assert figure.close
    assert not middle([*rounds, *rounds[:1], *rounds[:1]])[0].close


def test_costs_survive_their_file(tmp_path: Path) -> None:
    files.save(COSTS, {}, tmp_path / "costs.json")
    assert files.load(tmp_path / "costs.json") == COSTS
