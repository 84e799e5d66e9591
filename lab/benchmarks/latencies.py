"""How long a task takes from its submit to its worker, one task at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from lab.benchmarks import floors, scenario
from lab.benchmarks.child import Child
from lab.benchmarks.stack import Stack

QUIET_S = 3.0
"""For what is left of a start (checkpoints, statistics), before something at rest is measured."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds, the smallest first."""

    measured: list[float]
    floor: list[float]

    @property
    def p50(self) -> float:
        return self.measured[len(self.measured) // 2]

    @property
    def p99(self) -> float:
        return self.measured[len(self.measured) * 99 // 100]


async def latencies(stack: Stack, samples: int, worker_id: str = "latency-probe") -> Latencies:
    """Measures so many, one after the other; a worker id has one probe."""
    async with floors.bare_server(stack) as bare:
        options = {
            "floor": bare.first["target"],
            "worker_id": worker_id,
            "samples": samples,
            "accounts": stack.accounts,
        }
        async with Child(
            "benchmarks.callers.probe", stack.folder, "latency_probe", target=stack.target, **options
        ) as probe:
            probe.go()
            async with asyncio.timeout(scenario.PATIENCE_S):
                samples_ms = [await probe.message() for _ in range(samples)]
    measured, floor = (sorted(sample[key] for sample in samples_ms) for key in ("ms", "floor_ms"))
    shortest = [*measured[:1], *floor[:1]]
    assert all(ms > 0 for ms in shortest), f"every call takes some time, and the shortest took {shortest} ms"
    return Latencies(measured, floor)
