"""Makes costs of what was measured: what a call, a task, a message, a transaction takes by itself.

Part of `benchmarks.simulation`. One load has many tasks in few transactions, another one few in many; which prices
explain all of them is a linear fit. What a transaction takes beside its CPU comes from an idle system.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.simulation.calibration import FLEETS, SHAPES, Fleet, Measured, Shape, Used
from benchmarks.simulation.costs import Costs, Part
from benchmarks.simulation.fit import prices

_SINGLES, _LARGE = 1, 4
"""The shapes whose WAL is told: single submits, and the largest batches and depths."""


def derive(measured: Measured) -> Costs:
    """All costs."""
    rest, loads, drains, fleets = measured.rest, _loads(measured), _drains(measured), measured.fleets
    each_second = _per_second(rest)
    call, task, submits = _prices(each_second, loads, [_submit_counts(*one) for one in zip(SHAPES, loads, strict=True)])
    claims, reports, message, run = _prices(
        each_second, drains, [_drain_counts(*one) for one in zip(SHAPES, drains, strict=True)]
    )
    resting = [one.resting for one in fleets]
    heartbeats, heartbeat = _prices(each_second, resting, [_report_counts(one) for one in resting])
    hello = _hello(each_second, fleets, heartbeat)
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
        heartbeats=heartbeats,
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
    return used.reading.groups["claims"].count, *_report_counts(used), shape.tasks


def _prices(rest: Part, used: Sequence[Used], counts: Sequence[Sequence[float]]) -> list[Part]:
    """The prices of these counts in both, without what goes on at rest."""
    cpu = [one.reading.cpu for one in used]
    seconds = [one.reading.at for one in used]
    scheduler = prices(counts, [c.scheduler - rest.scheduler * s for c, s in zip(cpu, seconds, strict=True)])
    postgres = prices(counts, [c.postgres - rest.postgres * s for c, s in zip(cpu, seconds, strict=True)])
    return [Part(*both) for both in zip(scheduler, postgres, strict=True)]


def _hello(rest: Part, fleets: Sequence[Fleet], heartbeat: Part) -> Part:
    """A hello, without the heartbeat that follows it."""
    hellos, seconds = sum(one.workers for one in fleets), sum(one.connecting.reading.at for one in fleets)
    scheduler = sum(one.connecting.reading.cpu.scheduler for one in fleets) - rest.scheduler * seconds
    postgres = sum(one.connecting.reading.cpu.postgres for one in fleets) - rest.postgres * seconds
    return Part(scheduler / hellos - heartbeat.scheduler, postgres / hellos - heartbeat.postgres)


def _idle_seconds(measured: Measured) -> tuple[float, ...]:
    """Seconds of a transaction of each lane on an idle system."""
    groups = measured.idle.reading.groups
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
