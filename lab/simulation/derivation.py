"""Makes costs of what was measured: what a call, a task, a message, a transaction takes by itself.

One load has many tasks in few transactions, another one few in many; which prices explain all of them is a linear fit.
What a transaction takes beside its CPU comes from an idle system.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lab.simulation.calibration import FLEETS, SAMPLES, SHAPES, Shape
from lab.simulation.cell import Fleet, Measured, Used
from lab.simulation.costs import Costs, Part

_ROUNDS = 20_000


def prices(counts: Sequence[Sequence[float]], used: Sequence[float]) -> list[float]:
    """Prices of the columns of `counts`, none negative, with the least squares of the relative errors of `used`.

    By coordinate descent: each price in turn takes what the others leave, until none changes any more.
    """
    rows = [[count / total for count in row] for row, total in zip(counts, used, strict=True)]
    columns = list(zip(*rows, strict=True))
    scales = [sum(value * value for value in column) for column in columns]
    result = [0.0] * len(columns)
    residuals = [1.0] * len(rows)
    for _ in range(_ROUNDS):
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
    rest, loads, drains, fleets = measured.rest, _loads(measured), _drains(measured), measured.fleets
    phases, idle = _phases(measured), measured.idle.used
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
    hello = _more([(fleet.connecting, fleet.workers) for fleet in fleets])
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
        rest=_per_second(rest),
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
        others=rest.others,
    )


def explain(measured: Measured) -> dict[str, Any]:
    """Returns what the costs were derived from, for people: microseconds and bytes a task, groups by lane."""
    submit_s, claim_s, report_s = _idle_seconds(measured)
    return {
        "loads": [_told(used, shape.tasks) | {"batch": shape.batch} for shape, used in _by_shape(_loads(measured))],
        "drains": [
            _told(used, shape.tasks) | {"workers": shape.workers} for shape, used in _by_shape(_drains(measured))
        ],
        "paced": [_told(paced.used, paced.tasks) | {"rate": paced.rate} for paced in measured.paced],
        "idle": {"p50_ms": measured.idle.p50_ms, "submit_s": submit_s, "claim_s": claim_s, "report_s": report_s},
        "hello_s": measured.hello_s,
        "fleets": [_fleet_told(fleet) for fleet in measured.fleets],
    }


def _loads(measured: Measured) -> list[Used]:
    return [load for load, _ in measured.phases]


def _drains(measured: Measured) -> list[Used]:
    return [drain for _, drain in measured.phases]


def _beside(seconds: float, *parts: Part) -> float:
    """Returns the seconds that the parts do not explain."""
    return max(0.0, seconds - sum(part.scheduler + part.postgres for part in parts))


def _inside(seconds: float, lane: Part, *items: Part) -> float:
    """The share of a transaction's CPU that fits into so many seconds, beside what its items cost.

    All of it if the fit found no price for the transaction, as it does where the host's pace changes between the loads.
    """
    cpu = lane.scheduler + lane.postgres
    return min(1.0, _beside(seconds, *items) / cpu) if cpu else 1.0


def _per_second(used: Used) -> Part:
    reading = used.reading
    return Part(reading.cpu.scheduler / reading.at, reading.cpu.postgres / reading.at)


class _Counts(NamedTuple):
    """What a phase had of each thing that has a price."""

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
    return [
        *(
            (used, _counts(used, calls=shape.tasks / shape.batch, tasks=shape.tasks))
            for shape, used in _by_shape(_loads(measured))
        ),
        *((used, _counts(used, runs=shape.tasks)) for shape, used in _by_shape(_drains(measured))),
        *(
            (paced.used, _counts(paced.used, calls=paced.tasks, tasks=paced.tasks, runs=paced.tasks))
            for paced in measured.paced
        ),
    ]


def _ahead(used: Used, tasks: int, task: Part) -> float:
    """Returns what of a task's CPU is not in the seconds of its transactions."""
    return min(task.scheduler, max(0.0, used.cpu - used.reading.groups["submits"].seconds) / tasks)


def _by_shape(used: Sequence[Used]) -> Iterator[tuple[Shape, Used]]:
    return zip(SHAPES, used, strict=True)


def _beyond_rest(used: Used, rest: Used) -> Part:
    """CPU seconds, without what goes on at rest."""
    each_second, reading = _per_second(rest), used.reading
    return Part(
        reading.cpu.scheduler - each_second.scheduler * reading.at,
        reading.cpu.postgres - each_second.postgres * reading.at,
    )


def _prices(used: Sequence[Part], counts: Sequence[Sequence[float]]) -> list[Part]:
    scheduler = prices(counts, [part.scheduler for part in used])
    postgres = prices(counts, [part.postgres for part in used])
    return [Part(*both) for both in zip(scheduler, postgres, strict=True)]


def _price(used: Part, count: float) -> Part:
    return Part(max(0.0, used.scheduler) / count, max(0.0, used.postgres) / count)


def _more(used: Sequence[tuple[Used, float]]) -> Part:
    """What one more of so many took: whatever else went on, such as a vacuum, is in the fewer and in the more."""
    (small, fewer), (large, large_count) = used
    cpu = large.reading.cpu - small.reading.cpu
    return _price(Part(cpu.scheduler, cpu.postgres), large_count - fewer)


def _idle_seconds(measured: Measured) -> tuple[float, ...]:
    """Returns the seconds of a transaction of each lane on an idle system."""
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


def _fleet_told(fleet: Fleet) -> dict[str, Any]:
    cores = _per_second(fleet.resting)
    return {"workers": fleet.workers, "scheduler": cores.scheduler, "postgres": cores.postgres, "memory": fleet.memory}
