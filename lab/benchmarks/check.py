"""`python -m lab.benchmarks.check`, or `make bench-check`: does a hot path cost more than it did?

CPU a task counts: the scheduler's in that of a bare gRPC call, PostgreSQL's in that of a task in plain SQL. Of several
rounds the lower quartiles count, since whatever else the machine does makes a cost higher, never lower. `ratios.json`
has what they were. Exit status 1 if one is above its bound in three runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from lab.benchmarks import floors, scenario
from lab.benchmarks.command import lent_folder, run_measurement
from lab.benchmarks.conditions import this_machine
from lab.benchmarks.measures import IN_FLIGHT, Options, fresh
from lab.benchmarks.stack import Cpu, Stack, used_by

RATIOS = Path(__file__).with_name("ratios.json")
BOUND = 1.3
"""How many times its former ratio a figure may be. In four runs, one beside two busy loops, none was 1.2 times that."""
_CALLS, _LIVES = 2_000, 5_000
_SUBMITS, _BATCHED = 1_500, 5_000
_FLOOR = "floor"
_MORE_RUNS = 2
_STEADY = ("autovacuum = off", "wal_init_zero = off")
"""What PostgreSQL does at moments of its own is none of a task's cost."""


async def ratios(rounds: int, folder: Path) -> dict[str, float]:
    """Returns the ratio of each figure to its floor, the smaller the better."""
    async with fresh(Options(folder)) as stack:
        for setting in _STEADY:
            stack.rows(f"ALTER SYSTEM SET {setting}")
        stack.rows("SELECT pg_reload_conf()")
        stack.warm_wal()
        measured = []
        for number in range(1, rounds + 1):
            sys.stderr.write(f"round {number} of {rounds} …\n")
            measured.append(await _round(stack, number))
    costs = {path: _quiet(costs[path] for costs in measured) for path in measured[0]}
    floor = costs.pop(_FLOOR)
    return {
        **{f"{path}, scheduler": cost.scheduler / floor.scheduler for path, cost in costs.items()},
        **{f"{path}, PostgreSQL": cost.postgres / floor.postgres for path, cost in costs.items()},
    }


def _quiet(costs: Iterable[Cpu]) -> Cpu:
    pairs = [(cost.scheduler, cost.postgres) for cost in costs]
    return Cpu(*(statistics.quantiles(values, method="inclusive")[0] for values in zip(*pairs, strict=True)))


async def _round(stack: Stack, number: int) -> dict[str, Cpu]:
    """Returns the CPU seconds of a task on each path, and of the floor."""
    floor = Cpu(await _bare_call(stack), floors.lives(stack, _LIVES).cpu.postgres / _LIVES)
    submits = await scenario.load(stack, _SUBMITS, batch=1, in_flight=64)
    batches = await scenario.load(stack, _BATCHED, batch=500, in_flight=IN_FLIGHT)
    async with scenario.noop_workers(stack, 2, 2_000, targets=[stack.target], prefix=f"noop-{number}") as workers:
        drained = await scenario.drain(stack, workers, _SUBMITS + _BATCHED)
    stack.rows("VACUUM ready, leases")
    spans = {"SubmitTask": submits, "BatchSubmitTasks": batches, "drain": drained}
    return {_FLOOR: floor, **{path: span.cpu * (1 / span.tasks) for path, span in spans.items()}}


async def _bare_call(stack: Stack) -> float:
    """Returns the CPU seconds that a server which does nothing takes for a call."""
    async with floors.bare_server(stack) as server:
        processes = [psutil.Process(server.pid)]
        before = used_by(processes)
        await scenario.load(stack, _CALLS, batch=1, in_flight=64, target=server.first["target"])
        return (used_by(processes) - before) / _CALLS


def worse(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Returns the figures that are above their bound, as times of what they were."""
    times = {name: value / before[name] for name, value in now.items() if name in before}
    return {name: value for name, value in times.items() if value > BOUND}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.benchmarks.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="how often each is measured; lower quartiles count (default: 7)"
    )
    parser.add_argument("--update", action="store_true", help="write the ratios of this run to ratios.json")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    return run_measurement(_run(parser.parse_args()))


async def _run(arguments: argparse.Namespace) -> int:
    former = json.loads(RATIOS.read_text())
    now = await _measured(arguments, former)
    if arguments.update:
        RATIOS.write_text(json.dumps({name: round(value, 3) for name, value in now.items()}, indent=2) + "\n")
        return 0
    lost = worse(former, now)
    for _ in range(_MORE_RUNS):
        if not lost:
            return 0
        print("\nonce more, since a figure is above its bound:")
        again = worse(former, await _measured(arguments, former))
        lost = {name: times for name, times in again.items() if name in lost}
    for name, times in lost.items():
        print(f"{name} costs {times:.2f} times what it did, and may cost {BOUND} times as much")
    return 1 if lost else 0


async def _measured(arguments: argparse.Namespace, former: Mapping[str, float]) -> dict[str, float]:
    with lent_folder(arguments.dir, "contentgen-bench-") as folder:
        print(this_machine(folder).line, end="\n\n")
        now = await ratios(arguments.rounds, folder)
    print(f"{'figure':28}  {'now':>6}  {'before':>6}")
    for name, value in now.items():
        print(f"{name:28}  {value:6.3f}  {former.get(name, 0):6.3f}")
    return now


if __name__ == "__main__":
    sys.exit(main())
