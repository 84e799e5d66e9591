"""What will be done to whom, and when: `plan`, a pure function of a seed; `Strikes` carries it out on a fleet.

Two faults never hold one victim at the same time, so what a fault did can be told from what another one did; faults of
different victims overlap as they like. A fault holds its victim's lock from the first blow until the victim is started
again or thawed: nobody else hurts or starts it meanwhile.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg2

from lab.chaos.faults import KINDS, Fault, Kind, MissedError, Scene
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
    now = 0.0
    while (now := now + min(chance.expovariate(rate), 5.0)) < seconds:
        kind = chance.choices(kinds, [kind.weight for kind in kinds])[0]
        if kind.group == EVERYTHING:
            now = max(now, *free_at.values())
        free = [name for name in victims if name.startswith(kind.group) and free_at[name] <= now]
        if free and now < seconds:
            fault = Fault(
                round(now, 3),
                kind.name,
                chance.choice(free),
                round(chance.uniform(kind.shortest, kind.longest), 3),
                chance.getrandbits(32),
            )
            for name in victims if kind.group == EVERYTHING else (fault.victim,):
                free_at[name] = now + fault.duration + 3.0  # to come back, and to be there for a while
            yield fault


_STRIKES = {kind.name: kind.strike for kind in KINDS}


class Strikes:
    """Each fault of a plan in a thread of its own, on time."""

    def __init__(self, scene: Scene) -> None:
        self.struck: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        """Faults whose victim was not there to be hurt, as where a database can't be reached: it had not come back."""
        self.wrong: list[str] = []
        """What should not have been, beside what the evidence tells."""
        self._scene = scene
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(32, thread_name_prefix="fault")

    def run(self, faults: Sequence[Fault]) -> None:
        """Returns when the last fault has begun, or at `stop`."""
        begin = time.monotonic()
        for fault in faults:
            if self._over.wait(max(0.0, begin + fault.at - time.monotonic())):
                return
            self._threads.submit(self._strike, fault)

    def stop(self) -> None:
        """Undoes what lasts, and returns when all is undone. Idempotent."""
        self._over.set()
        self._threads.shutdown()
        self._scene.fleet.wires.mend()

    def _strike(self, fault: Fault) -> None:
        try:
            with ExitStack() as stack:
                self._begin(stack, fault)
                self.struck[fault.kind] += 1
                self._over.wait(fault.duration)
        except MissedError:
            self.missed[fault.kind] += 1
        except Exception as error:  # noqa: BLE001 - told at the end; the other faults go on
            self.wrong.append(f"{fault.kind} of {fault.victim}: {error!r}")

    def _begin(self, stack: ExitStack, fault: Fault) -> None:
        """Hurts. Raises MissedError if a victim or the database does not take it; what undoes it may not fail."""
        nodes = self._scene.fleet.nodes
        for victim in nodes if fault.victim == EVERYTHING else (fault.victim,):
            if not nodes[victim].lock.acquire(timeout=0.5):  # another fault may be about to let it go
                raise MissedError
            stack.callback(nodes[victim].lock.release)
        try:
            stack.enter_context(contextmanager(_STRIKES[fault.kind])(self._scene, fault))
        except psycopg2.Error as error:
            raise MissedError from error
