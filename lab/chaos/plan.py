"""What will be done to whom, and when: a pure function of a seed.

Two faults never hold one victim at the same time, so what a fault did can be told from what another one did; faults of
different victims overlap as they like.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence

from lab.chaos.faults import KINDS, Fault, Kind
from lab.chaos.fleet import EVERYTHING


def plan(
    seed: int, seconds: float, victims: Sequence[str], *, rate: float = 1.0, kinds: Collection[str] | None = None
) -> tuple[Fault, ...]:
    """Returns the faults of a campaign, by time: the same for the same arguments, always.

    Args:
        seed: any number.
        seconds: how long faults begin for.
        victims: names such as `worker-1`, `scheduler-2`, `postgres`, `everything`.
        rate: faults a second, about.
        kinds: names of the kinds to choose from; None: all.
    """
    eligible = [kind for kind in KINDS if kinds is None or kind.name in kinds]
    return tuple(_faults(random.Random(f"faults {seed}"), seconds, victims, rate, eligible))


def _faults(
    chance: random.Random, seconds: float, victims: Sequence[str], rate: float, kinds: Sequence[Kind]
) -> Iterator[Fault]:
    free_at = dict.fromkeys(victims, 0.0)
    time = 0.0
    while (time := time + min(chance.expovariate(rate), 5.0)) < seconds:
        kind = chance.choices(kinds, [kind.weight for kind in kinds])[0]
        if kind.group == EVERYTHING:
            time = max(time, *free_at.values())
        free = [name for name in victims if name.startswith(kind.group) and free_at[name] <= time]
        if free and time < seconds:
            fault = Fault(
                round(time, 3),
                kind.name,
                chance.choice(free),
                round(chance.uniform(kind.shortest, kind.longest), 3),
                chance.getrandbits(32),
            )
            for name in victims if kind.group == EVERYTHING else (fault.victim,):
                free_at[name] = time + fault.duration + 3.0  # to come back, and to be there for a while
            yield fault
