"""How honest callers fare while a scheduler is attacked: the same latency, quiet and beside each attack."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lab.benchmarks.attacker import ATTACKS, IDLING
from lab.benchmarks.child import Child
from lab.benchmarks.goals import Figure
from lab.benchmarks.latencies import Latencies, latencies
from lab.benchmarks.stack import Stack

SETTLES_S = 2.0
"""For an attack to be under way, and to be over."""


async def figures(stack: Stack, neighbour: Stack, samples: int) -> list[Figure]:
    """p99 of a submit's way to its worker; in the note that of a neighbour on this machine, which nobody attacks.

    What the neighbour suffers is the machine's doing: an attacker and the server that reads it take its cores.
    """
    quiet = [await latencies(target, samples) for target in (stack, neighbour)]
    results = [_figure("quiet", quiet, quiet)]
    for attack in (IDLING, *ATTACKS):
        name = attack.replace(" ", "-").replace(",", "")
        async with Child(
            "attacker", stack.folder, name, port=stack.target.rpartition(":")[2], attack=attack
        ) as attacker:
            attacker.go()
            await asyncio.sleep(SETTLES_S)
            attacked_latencies = [await latencies(target, samples, f"beside-{name}") for target in (stack, neighbour)]
            results.append(_figure(attack, attacked_latencies, quiet))
        await asyncio.sleep(SETTLES_S)
    return results


def _figure(attack: str, latencies_now: Sequence[Latencies], quiet: Sequence[Latencies]) -> Figure:
    ratio, neighbours = (now.p99 / former.p99 for now, former in zip(latencies_now, quiet, strict=True))
    note = f"{ratio:.1f} times the quiet one; a neighbour's that is not attacked {neighbours:.1f} times"
    attacked = latencies_now[0]
    return Figure(f"submit to worker under {attack}, p99", attacked.p99, "ms", len(attacked.measured), note=note)
