"""How honest callers fare while a scheduler is attacked: the same latency, quiet and beside each attack."""

from __future__ import annotations

import asyncio

from benchmarks.attacker import ATTACKS, IDLING
from benchmarks.child import Child
from benchmarks.goals import Figure
from benchmarks.latencies import Latencies, latencies
from benchmarks.stack import Stack

SETTLES_S = 2.0
"""For an attack to be under way, and to be over."""


async def figures(stack: Stack, samples: int) -> list[Figure]:
    """p99 of a submit's way to its worker; in the note that of a bare server beside it, which nobody attacks."""
    quiet = await latencies(stack, samples)
    found = [_figure("quiet", quiet, quiet)]
    for attack in (IDLING, *ATTACKS):
        name = attack.replace(" ", "-").replace(",", "")
        async with Child(
            "attacker", stack.folder, name, port=stack.target.rpartition(":")[2], attack=attack
        ) as attacker:
            attacker.go()
            await asyncio.sleep(SETTLES_S)
            found.append(_figure(attack, await latencies(stack, samples, f"beside-{name}"), quiet))
        await asyncio.sleep(SETTLES_S)
    return found


def _figure(attack: str, measured: Latencies, quiet: Latencies) -> Figure:
    times, bare = measured.p99 / quiet.p99, measured.floor_p99 / quiet.floor_p99
    note = f"{times:.1f} times the quiet one; a bare server's beside it {bare:.1f} times"
    return Figure(f"submit to worker under {attack}, p99", measured.p99, "ms", len(measured.measured), note=note)
