"""Makes costs of what was measured: what a call, a task, a message, a transaction takes by itself.

One load has many tasks in few transactions, another one few in many; which prices explain all of them is a linear fit.
What a transaction takes beside its CPU comes from an idle system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from lab.benchmarks.stack import Cpu
from lab.simulation.calibration import FLEETS, SAMPLES, SHAPES
from lab.simulation.cell import Measured, Used
from lab.simulation.costs import Costs


def prices(counts: Sequence[Sequence[float]], used: Sequence[float]) -> list[float]:
    """Prices the columns of `counts`, none negative, with the least squares of the relative errors of `used`.

    By coordinate descent: each price in turn takes what the others leave, until none changes any more.
    """
    rows = [[count / total for count in row] for row, total in zip(counts, used, strict=True)]
    columns = list(zip(*rows, strict=True))
    scales = [sum(value * value for value in column) for column in columns]
    result = [0.0] * len(columns)
    residuals = [1.0] * len(rows)
    for _ in range(20_000):
        for index, column in enumerate(columns):
            if not scales[index]:
                continue
            estimate = result[index] + sum(a * b for a, b in zip(column, residuals, strict=True)) / scales[index]
            change = max(0.0, estimate) - result[index]
            result[index] += change
            residuals = [a - change * b for a, b in zip(residuals, column, strict=True)]
    return result


_SINGLES, _LARGE = 1, 4
"""The shapes whose WAL is told: single submits, and the largest batches and depths."""


def derive(measured: Measured) -> Costs:
    fleets, phases, idle = measured.fleets, _phases(measured), measured.idle.used
    loads, drains = zip(*measured.phases, strict=True)
    rest = _per_second(measured.rest)
    priced = [*phases, (idle, _counts(idle, calls=SAMPLES, tasks=SAMPLES, runs=SAMPLES))]
    call, task, submits, claims, reports, message, run = _prices(
        [_beyond_rest(used, rest) for used, _ in priced], [counts for _, counts in priced]
    )
    client_call, client_task, worker_message, worker_run = prices(
        [(counts.calls, counts.tasks, counts.messages, counts.runs) for _, counts in phases],
        [used.children for used, _ in phases],
    )
    resting = [fleet.resting for fleet in fleets]
    heartbeats = resting[-1].reading.groups["reports"].items
    submit_s, claim_s, report_s = _idle_seconds(measured)
    on_the_way = measured.idle.p50_ms / 1e3 - submit_s - claim_s - call.scheduler - client_call - worker_message
    # Whatever else went on while they connected, such as a vacuum, is in the fewer and in the more.
    few, many = (fleet.connecting.reading.cpu for fleet in fleets)
    hello = _price(many - few, fleets[1].workers - fleets[0].workers)
    return Costs(
        call=call,
        task=task,
        task_ahead=_ahead(loads[_LARGE], SHAPES[_LARGE].tasks, task),
        submits=submits,
        submit_inside=_inside(submit_s, submits, task),
        claims=claims,
        claim_inside=_inside(claim_s, claims),
        reports=reports,
        report_inside=_inside(report_s, reports),
        message=message,
        run=run,
        heartbeat=_price(_beyond_rest(resting[-1], rest), heartbeats),
        hello=hello,
        rest=rest,
        client_call=client_call,
        client_task=client_task,
        worker_run=worker_run,
        worker_message=worker_message,
        dial=sum(fleet.connecting.children for fleet in fleets) / sum(FLEETS),
        refused=measured.refused,
        submit_wait=_beside(submit_s, submits, task),
        claim_wait=_beside(claim_s, claims),
        report_wait=_beside(report_s, reports),
        hello_wait=_beside(measured.hello_s, hello),
        notice=max(0.0, on_the_way),
        stream_bytes=sum(fleet.memory for fleet in fleets) / sum(FLEETS),
        task_wal=loads[_LARGE].reading.wal / SHAPES[_LARGE].tasks,
        single_wal=loads[_SINGLES].reading.wal / SHAPES[_SINGLES].tasks,
        run_wal=drains[_LARGE].reading.wal / SHAPES[_LARGE].tasks,
        heartbeat_wal=resting[-1].reading.wal / heartbeats,
        others=measured.rest.others,
    )


def explain(measured: Measured) -> dict[str, Any]:
    """Returns what the costs were derived from, for people: microseconds and bytes a task, groups by lane."""
    submit_s, claim_s, report_s = _idle_seconds(measured)
    shapes = list(zip(SHAPES, measured.phases, strict=True))
    return {
        "loads": [_told(load, shape.tasks) | {"batch": shape.batch} for shape, (load, _) in shapes],
        "drains": [_told(drain, shape.tasks) | {"workers": shape.workers} for shape, (_, drain) in shapes],
        "paced": [_told(paced.used, paced.tasks) | {"rate": paced.rate} for paced in measured.paced],
        "idle": {"p50_ms": measured.idle.p50_ms, "submit_s": submit_s, "claim_s": claim_s, "report_s": report_s},
        "hello_s": measured.hello_s,
        "fleets": [
            {"workers": fleet.workers, **asdict(_per_second(fleet.resting)), "memory": fleet.memory}
            for fleet in measured.fleets
        ],
    }


def _beside(seconds: float, *parts: Cpu) -> float:
    return max(0.0, seconds - sum(part.total for part in parts))


def _inside(seconds: float, lane: Cpu, *items: Cpu) -> float:
    """Returns the share of a transaction's CPU that fits into so many seconds, beside what its items cost.

    All of it if the fit found no price for the transaction, as it does where the host's pace changes between the loads.
    """
    return min(1.0, _beside(seconds, *items) / lane.total) if lane.total else 1.0


def _per_second(used: Used) -> Cpu:
    return used.reading.cpu * (1 / used.reading.at)


class _Counts(NamedTuple):
    calls: float
    tasks: float
    submits: float
    claims: float
    reports: float
    messages: float
    runs: float


def _counts(used: Used, *, calls: float = 0, tasks: float = 0, runs: float = 0) -> _Counts:
    groups = used.reading.groups
    reports = groups["reports"]
    return _Counts(calls, tasks, groups["submits"].count, groups["claims"].count, reports.count, reports.items, runs)


def _phases(measured: Measured) -> list[tuple[Used, _Counts]]:
    shapes = list(zip(SHAPES, measured.phases, strict=True))
    return [
        *((load, _counts(load, calls=shape.tasks / shape.batch, tasks=shape.tasks)) for shape, (load, _) in shapes),
        *((drain, _counts(drain, runs=shape.tasks)) for shape, (_, drain) in shapes),
        *(
            (paced.used, _counts(paced.used, calls=paced.tasks, tasks=paced.tasks, runs=paced.tasks))
            for paced in measured.paced
        ),
    ]


def _ahead(used: Used, tasks: int, task: Cpu) -> float:
    """Returns what of a task's CPU is not in the seconds of its transactions."""
    return min(task.scheduler, max(0.0, used.cpu - used.reading.groups["submits"].seconds) / tasks)


def _beyond_rest(used: Used, rest: Cpu) -> Cpu:
    return used.reading.cpu - rest * used.reading.at


def _prices(used: Sequence[Cpu], counts: Sequence[Sequence[float]]) -> list[Cpu]:
    scheduler = prices(counts, [part.scheduler for part in used])
    postgres = prices(counts, [part.postgres for part in used])
    return [Cpu(*both) for both in zip(scheduler, postgres, strict=True)]


def _price(used: Cpu, count: float) -> Cpu:
    return Cpu(max(0.0, used.scheduler) / count, max(0.0, used.postgres) / count)


def _idle_seconds(measured: Measured) -> tuple[float, ...]:
    groups = measured.idle.used.reading.groups
    return tuple(groups[lane].seconds / groups[lane].count for lane in ("submits", "claims", "reports"))


def _told(used: Used, tasks: int) -> dict[str, Any]:
    reading = used.reading
    return {
        "tasks": tasks,
        "per_second": round(tasks / reading.at),
        "scheduler_us": round(reading.cpu.scheduler / tasks * 1e6, 1),
        "postgres_us": round(reading.cpu.postgres / tasks * 1e6, 1),
        "children_us": round(used.children / tasks * 1e6, 1),
        "wal": round(reading.wal / tasks),
        "groups": {lane: [group.count, group.items, round(group.seconds, 3)] for lane, group in reading.groups.items()},
        "others": round(used.others, 3),
    }
