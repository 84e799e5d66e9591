"""How long a task takes from its submit to its worker, and beside it a call to a bare server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from lab.benchmarks import floors, scenario
from lab.benchmarks.child import Child
from lab.benchmarks.stack import Stack


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
    """So many, one after the other; a worker id has one probe."""
    accounts = ",".join(map(str, stack.accounts))
    async with floors.bare_server(stack) as bare:
        options = {
            "target": stack.target,
            "floor": bare,
            "worker_id": worker_id,
            "samples": samples,
            "accounts": accounts,
        }
        async with Child("latency_probe", stack.folder, "latency_probe", **options) as probe:
            probe.go()
            async with asyncio.timeout(scenario.PATIENCE_S):
                samples_ms = [await probe.told() for _ in range(samples)]
    return Latencies(sorted(sample["ms"] for sample in samples_ms), sorted(sample["floor_ms"] for sample in samples_ms))
