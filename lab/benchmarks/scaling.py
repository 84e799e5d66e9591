"""How figures change as the system grows: each measure compares two sizes within one run, and its figures are ratios.

Absolute times are in the notes. A machine in another mood changes both sides alike.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from lab.benchmarks import goals, scenario
from lab.benchmarks.child import Child
from lab.benchmarks.goals import Figure
from lab.benchmarks.latencies import latencies
from lab.benchmarks.stack import Stack

_HEARTBEAT_S = 10.0
"""In which each idle worker says once that it is there: what that costs is another measure's figure."""

_LEASES_PER_WORKER = 2_000
_POLL_S = 0.1
_QUIET_S = 3.0


@dataclass(frozen=True, slots=True)
class _Claims:
    """What it takes to bring one task to a worker: the median, and the WAL."""

    p50_ms: float
    wal_kib: float

    @property
    def note(self) -> str:
        return f"{self.p50_ms:.1f} ms, {self.wal_kib:.0f} KiB of WAL"


async def idle_fleet(stack: Stack, fleets: tuple[int, ...], samples: int) -> list[Figure]:
    """Submit to worker beside so many idle workers, against the first of these numbers."""
    claims = [await _beside(stack, count, samples) for count in fleets]
    first, *larger = claims
    figures = []
    for count, claim in zip(fleets[1:], larger, strict=True):
        note = f"{claim.note}; with {fleets[0]} idle workers {first.note}"
        name = f"submit to worker beside {count:,} idle workers"
        figures += [
            Figure(f"{name}, p50", claim.p50_ms / first.p50_ms, "times", samples, goals.IDLE_FLEET, note),
            Figure(f"{name}, WAL", claim.wal_kib / first.wal_kib, "times", samples, goals.IDLE_FLEET_WAL),
        ]
    return figures


async def _beside(stack: Stack, count: int, samples: int) -> _Claims:
    """The probe has more free slots than the others, so it gets each task."""
    name = f"fleet-{count}"
    async with Child("idle_workers", stack.folder, name, target=stack.target, count=count, prefix=name, depth=1):
        await latencies(stack, samples // 10, f"first-{name}")
        before = stack.wal()
        await asyncio.sleep(_HEARTBEAT_S)
        begin, quiet = time.monotonic(), stack.wal()
        p50 = (await latencies(stack, samples, f"probe-{name}")).p50
        heartbeats = (quiet - before) * (time.monotonic() - begin) / _HEARTBEAT_S
        wal = max(0.0, stack.wal() - quiet - heartbeats)
    return _Claims(p50, wal / samples / 1024)


async def hellos(stack: Stack, leases: int, samples: int) -> list[Figure]:
    """What leases of others add to a hello. Their workers are gone by then, so that nothing else goes on."""
    none = await _hello_ms(stack, "beside-none", samples)
    await scenario.load(stack, leases, batch=min(500, leases), in_flight=4)
    options = {"target": stack.target, "count": -(-leases // _LEASES_PER_WORKER), "depth": _LEASES_PER_WORKER}
    async with Child("idle_workers", stack.folder, "holders", **options):
        await _leased(stack, leases)
    await asyncio.sleep(_QUIET_S)
    loaded = await _hello_ms(stack, "beside-some", samples)
    note = f"{loaded:.1f} ms, without leases {none:.1f} ms"
    name = f"what {leases:,} leases add to a hello, p50"
    return [Figure(name, loaded - none, "ms", samples, goals.HELLO_MS, note)]


async def _leased(stack: Stack, leases: int) -> None:
    async with asyncio.timeout(scenario.PATIENCE_S):
        while stack.query("SELECT count(*) FROM leases") < leases:  # noqa: ASYNC110 - the database rings no bell
            await asyncio.sleep(_POLL_S)


async def _hello_ms(stack: Stack, worker_id: str, samples: int) -> float:
    options = {"target": stack.target, "worker_id": worker_id, "samples": samples}
    async with Child("hello_probe", stack.folder, worker_id, **options) as probe:
        probe.go()
        async with asyncio.timeout(scenario.PATIENCE_S):
            times = sorted([(await probe.told())["ms"] for _ in range(samples)])
    return float(times[samples // 2])


async def open_transaction(stack: Stack, passing: int, workers: int, depth: int, samples: int) -> list[Figure]:
    """Submit to worker while a stranger's transaction has been open for so many tasks, against before."""
    baseline = await _p50_ms(stack, samples, "probe-before")
    with stack.snapshot():
        await scenario.load(stack, passing, batch=min(500, passing), in_flight=4)
        async with scenario.noop_workers(stack, workers, depth) as noops:
            await scenario.drain(stack, noops, passing)
        await asyncio.sleep(_QUIET_S)
        loaded = await _p50_ms(stack, samples, "probe-beside")
    note = f"{loaded:.1f} ms, before {baseline:.1f} ms"
    name = f"submit to worker beside a transaction that is {passing:,} tasks old, p50"
    return [Figure(name, loaded / baseline, "times", samples, goals.OPEN_TRANSACTION, note)]


async def _p50_ms(stack: Stack, samples: int, worker_id: str) -> float:
    await latencies(stack, samples // 10, f"first-{worker_id}")
    return (await latencies(stack, samples, worker_id)).p50
