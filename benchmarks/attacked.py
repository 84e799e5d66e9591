"""How honest callers fare while a scheduler is attacked: the same latency, quiet and beside each attack."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks.attacker import ATTACKS, IDLING
from benchmarks.child import Child
from benchmarks.goals import Figure
from benchmarks.latencies import Latencies, latencies
from benchmarks.stack import Stack

SETTLES_S = 2.0
"""For an attack to be under way, and to be over."""


async def figures(stack: Stack, neighbour: Stack, samples: int) -> list[Figure]:
    """p99 of a submit's way to its worker; in the note that of a neighbour on this machine, which nobody attacks.

    What the neighbour suffers is the machine's doing: an attacker and the server that reads it take its cores.
    """
    quiet = [await latencies(each, samples) for each in (stack, neighbour)]
    found = [_figure("quiet", quiet, quiet)]
    for attack in (IDLING, *ATTACKS):
        name = attack.replace(" ", "-").replace(",", "")
        async with Child(
            "attacker", stack.folder, name, port=stack.target.rpartition(":")[2], attack=attack
        ) as attacker:
            attacker.go()
            await asyncio.sleep(SETTLES_S)
            beside = [await latencies(each, samples, f"beside-{name}") for each in (stack, neighbour)]
            found.append(_figure(attack, beside, quiet))
        await asyncio.sleep(SETTLES_S)
    return found


def _figure(attack: str, measured: Sequence[Latencies], quiet: Sequence[Latencies]) -> Figure:
    own, neighbours = (now.p99 / before.p99 for now, before in zip(measured, quiet, strict=True))
    note = f"{own:.1f} times the quiet one; a neighbour's that is not attacked {neighbours:.1f} times"
    attacked = measured[0]
    return Figure(f"submit to worker under {attack}, p99", attacked.p99, "ms", len(attacked.measured), note=note)
