"""Makes costs of what was measured: what a call, a task, a message, a transaction takes by itself.

Part of `benchmarks.simulation`. One load has many tasks in few transactions, another one few in many; which prices
explain all of them is a linear fit. What a transaction takes beside its CPU comes from an idle system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.simulation.calibration import FLEETS, SAMPLES, SHAPES, Fleet, Measured, Shape, Used
from benchmarks.simulation.costs import Costs, Part
from benchmarks.simulation.fit import prices

_SINGLES, _LARGE = 1, 4
"""The shapes whose WAL is told: single submits, and the largest batches and depths."""


def derive(measured: Measured) -> Costs:
    """All costs."""
    rest, loads, drains, fleets = measured.rest, _loads(measured), _drains(measured), measured.fleets
    each_second = _per_second(rest)
    call, task, submits = _prices([_beyond_rest(used, rest) for used in loads], _each(_submit_counts, loads))
    idle = _less(_beyond_rest(measured.idle.used, rest), SAMPLES, (call, task, submits))
    claims, reports, message, run = _prices(
        [*(_beyond_rest(used, rest) for used in drains), idle],
        [*_each(_drain_counts, drains), _lane_counts(measured.idle.used, SAMPLES)],
    )
    resting = [one.resting for one in fleets]
    heartbeat = _more([(one.resting, _report_counts(one.resting)[1]) for one in fleets])
    hello = _more([(one.connecting, one.workers) for one in fleets])
    client_call, client_task = prices([_call_counts(s) for s in SHAPES], [used.children for used in loads])
    worker_message, worker_run = prices(
        [(_report_counts(u)[1], s.tasks) for s, u in zip(SHAPES, drains, strict=True)], [u.children for u in drains]
    )
    submit_s, claim_s, report_s = _idle_seconds(measured)
    on_the_way = measured.idle.p50_ms / 1e3 - submit_s - claim_s - call.scheduler - client_call - worker_message
    return Costs(
        call=call,
        task=task,
        submits=submits,
        claims=claims,
        reports=reports,
        message=message,
        run=run,
        heartbeat=heartbeat,
        hello=hello,
        rest=each_second,
        client_call=client_call,
        client_task=client_task,
        worker_run=worker_run,
        worker_message=worker_message,
        dial=sum(one.connecting.children for one in fleets) / sum(FLEETS),
        refused=measured.refused,
        submit_wait=_beside(submit_s, submits, task),
        claim_wait=_beside(claim_s, claims),
        report_wait=_beside(report_s, reports),
        hello_wait=_beside(measured.hello_s, hello),
        notice=max(0.0, on_the_way),
        stream_bytes=sum(one.memory for one in fleets) / sum(FLEETS),
        task_wal=loads[_LARGE].reading.wal / SHAPES[_LARGE].tasks,
        single_wal=loads[_SINGLES].reading.wal / SHAPES[_SINGLES].tasks,
        run_wal=drains[_LARGE].reading.wal / SHAPES[_LARGE].tasks,
        heartbeat_wal=resting[-1].reading.wal / _report_counts(resting[-1])[1],
        others=rest.others,
    )


def explain(measured: Measured) -> dict[str, Any]:
    """What the costs were derived from, for people: microseconds and bytes a task, groups by lane."""
    submit_s, claim_s, report_s = _idle_seconds(measured)
    return {
        "loads": [_told(*one) for one in zip(SHAPES, _loads(measured), strict=True)],
        "drains": [_told(*one) for one in zip(SHAPES, _drains(measured), strict=True)],
        "idle": {"p50_ms": measured.idle.p50_ms, "submit_s": submit_s, "claim_s": claim_s, "report_s": report_s},
        "hello_s": measured.hello_s,
        "fleets": [_fleet_told(one) for one in measured.fleets],
    }


def _loads(measured: Measured) -> list[Used]:
    return [load for load, _ in measured.phases]


def _drains(measured: Measured) -> list[Used]:
    return [drain for _, drain in measured.phases]


def _beside(seconds: float, *parts: Part) -> float:
    """What they do not explain."""
    return max(0.0, seconds - sum(part.scheduler + part.postgres for part in parts))


def _per_second(used: Used) -> Part:
    reading = used.reading
    return Part(reading.cpu.scheduler / reading.at, reading.cpu.postgres / reading.at)


def _call_counts(shape: Shape) -> tuple[float, float]:
    return shape.tasks / shape.batch, shape.tasks


def _submit_counts(shape: Shape, used: Used) -> tuple[float, ...]:
    return *_call_counts(shape), used.reading.groups["submits"].count


def _report_counts(used: Used) -> tuple[float, float]:
    """Transactions of the report lanes, and messages in them."""
    reports = used.reading.groups["reports"]
    return reports.count, reports.items


def _drain_counts(shape: Shape, used: Used) -> tuple[float, ...]:
    return _lane_counts(used, shape.tasks)


def _lane_counts(used: Used, tasks: int) -> tuple[float, ...]:
    return used.reading.groups["claims"].count, *_report_counts(used), tasks


def _each(counts: Callable[[Shape, Used], tuple[float, ...]], used: Sequence[Used]) -> list[tuple[float, ...]]:
    return [counts(shape, one) for shape, one in zip(SHAPES, used, strict=True)]


def _beyond_rest(used: Used, rest: Used) -> Part:
    """CPU seconds, without what goes on at rest."""
    each_second, reading = _per_second(rest), used.reading
    return Part(
        reading.cpu.scheduler - each_second.scheduler * reading.at,
        reading.cpu.postgres - each_second.postgres * reading.at,
    )


def _less(used: Part, count: int, parts: Sequence[Part]) -> Part:
    """Without so many of these parts."""
    return Part(
        used.scheduler - count * sum(part.scheduler for part in parts),
        used.postgres - count * sum(part.postgres for part in parts),
    )


def _prices(used: Sequence[Part], counts: Sequence[Sequence[float]]) -> list[Part]:
    """The prices of these counts in both."""
    scheduler = prices(counts, [one.scheduler for one in used])
    postgres = prices(counts, [one.postgres for one in used])
    return [Part(*both) for both in zip(scheduler, postgres, strict=True)]


def _more(used: Sequence[tuple[Used, float]]) -> Part:
    """What one more of so many took: whatever else went on, such as a vacuum, is in the fewer and in the more."""
    (few, fewer), (many, more) = used
    cpu = many.reading.cpu - few.reading.cpu
    return Part(max(0.0, cpu.scheduler) / (more - fewer), max(0.0, cpu.postgres) / (more - fewer))


def _idle_seconds(measured: Measured) -> tuple[float, ...]:
    """Seconds of a transaction of each lane on an idle system."""
    groups = measured.idle.used.reading.groups
    return tuple(groups[lane].seconds / groups[lane].count for lane in ("submits", "claims", "reports"))


def _told(shape: Shape, used: Used) -> dict[str, Any]:
    reading, tasks = used.reading, shape.tasks
    return {
        "tasks": tasks,
        "batch": shape.batch,
        "per_second": round(tasks / reading.at),
        "scheduler_us": round(reading.cpu.scheduler / tasks * 1e6, 1),
        "postgres_us": round(reading.cpu.postgres / tasks * 1e6, 1),
        "children_us": round(used.children / tasks * 1e6, 1),
        "wal": round(reading.wal / tasks),
        "groups": {lane: [it.count, it.items, round(it.seconds, 3)] for lane, it in reading.groups.items()},
        "others": round(used.others, 3),
    }


def _fleet_told(one: Fleet) -> dict[str, Any]:
    cores = _per_second(one.resting)
    return {"workers": one.workers, "scheduler": cores.scheduler, "postgres": cores.postgres, "memory": one.memory}
