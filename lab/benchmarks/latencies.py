"""How long a task takes from its submit to its worker, idle and beside an attack; what idle workers cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lab.benchmarks import floors, goals, scenario
from lab.benchmarks.attacker import ATTACKS, IDLING
from lab.benchmarks.child import Child
from lab.benchmarks.goals import Figure
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
    """Measures so many, one after the other; a worker id has one probe."""
    async with floors.bare_server(stack) as bare:
        options = {"floor": bare, "worker_id": worker_id, "samples": samples, "accounts": stack.accounts}
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


_REST_S = 20.0
"""Two heartbeats of each worker; a backend's statistics may come ten seconds late."""
QUIET_S = 3.0
"""For what is left of a start (checkpoints, statistics), before something at rest is measured."""
_ATTACK_S = 2.0
"""For an attack to be under way, and to be over."""


async def idle_workers(stack: Stack, count: int) -> list[Figure]:
    async with Child("benchmarks.workers.wait_idly", stack.folder, "idle_workers", target=stack.target, count=count):
        await asyncio.sleep(QUIET_S)
        before, begin = stack.cpu(), time.monotonic()
        await asyncio.sleep(_REST_S)
        cpu, seconds = stack.cpu() - before, time.monotonic() - begin
        rss = stack.rss()
    note = f"PostgreSQL {cpu.postgres / seconds:.1%} of a core"
    return [
        Figure(f"{count:,} idle workers, the scheduler's memory", rss / 1e6, "MB", count, goals.IDLE_WORKERS_MB),
        Figure("the same, its CPU", cpu.scheduler / seconds * 100, "% of a core", count, goals.IDLE_WORKERS_CPU, note),
    ]


async def at_rest(stack: Stack, count: int, depth: int) -> list[Figure]:
    committed = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    async with scenario.noop_workers(stack, count, depth) as workers:
        workers.go()
        await asyncio.sleep(25.0)  # nothing is left of a start then, such as statistics that come late
        before, begin = stack.query(committed), time.monotonic()
        await asyncio.sleep(_REST_S)
        commits, seconds = stack.query(committed) - before - 1, time.monotonic() - begin  # less the question's own
    note = f"transactions, with {count} idle workers"
    return [Figure("at rest", commits / seconds, "queries/s", count, goals.AT_REST_QUERIES, note)]


async def under_attack(stack: Stack, neighbour: Stack, samples: int) -> list[Figure]:
    """p99 of a submit's way to its worker; in the note that of a neighbour on this machine, which nobody attacks.

    What the neighbour suffers is the machine's doing: an attacker and the server that reads it take its cores.
    """
    quiet = [await latencies(target, samples) for target in (stack, neighbour)]
    results = [_attack_figure("quiet", quiet, quiet)]
    for attack in (IDLING, *ATTACKS):
        name = attack.replace(" ", "-").replace(",", "")
        options = {"port": int(stack.target.rpartition(":")[2]), "attack": attack}
        async with Child("benchmarks.attacker.attack_scheduler", stack.folder, name, **options) as attacker:
            attacker.go()
            await asyncio.sleep(_ATTACK_S)
            attacked_latencies = [await latencies(target, samples, f"beside-{name}") for target in (stack, neighbour)]
            results.append(_attack_figure(attack, attacked_latencies, quiet))
        await asyncio.sleep(_ATTACK_S)
    return results


def _attack_figure(attack: str, latencies_now: Sequence[Latencies], quiet: Sequence[Latencies]) -> Figure:
    ratio, neighbours = (now.p99 / former.p99 for now, former in zip(latencies_now, quiet, strict=True))
    note = f"{ratio:.1f} times the quiet one; a neighbour's that is not attacked {neighbours:.1f} times"
    attacked = latencies_now[0]
    return Figure(f"submit to worker under {attack}, p99", attacked.p99, "ms", len(attacked.measured), note=note)
