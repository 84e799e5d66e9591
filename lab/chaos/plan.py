"""What will be done to whom, and when: a pure function of a seed. The faults themselves are in `strikes`.

Two faults never hold one victim at the same time, so what a fault did can be told from what another one did; faults of
different victims overlap as they like.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

LEASE = 5.0
"""Seconds: the lease time of a campaign, the shortest that there is."""
EVERYTHING = "everything"
POSTGRES = "postgres"


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    weight: float
    """How often it is chosen, beside the others."""
    group: str
    """Who may be its victim: `worker`, `scheduler`, `postgres`, `everything`."""
    shortest: float
    longest: float
    """Seconds that it lasts: until what was killed is started again, what was frozen thaws, what was full is empty."""
    does: str
    needs_disks: bool = False


KINDS = (
    Kind("worker-kill", 34, "worker", 0.1, 1.5, "kill -9 to a worker, which is started again soon"),
    Kind("worker-loss", 10, "worker", 6.0, 9.0, "kill -9 to a worker, which stays away for longer than a lease"),
    Kind("guard-kill", 14, "worker", 0.1, 1.5, "kill -9 to a worker's guard; the worker ends by itself"),
    Kind("machine-kill", 6, "worker", 0.5, 8.0, "kill -9 to worker, guard, CLIs and all their descendants at once"),
    Kind("worker-freeze", 5, "worker", 0.5, 9.0, "SIGSTOP to a worker, SIGCONT later"),
    Kind("guard-freeze", 3, "worker", 0.3, 6.0, "SIGSTOP to a guard, SIGCONT later"),
    Kind("machine-freeze", 3, "worker", 0.5, 9.0, "SIGSTOP to worker, guard and all CLIs, SIGCONT later"),
    Kind("worker-stop", 3, "worker", 0.0, 6.0, "TERM to a worker and, if it still drains then, TERM again"),
    Kind("worker-disk-full", 2, "worker", 1.0, 5.0, "no space for spool, marks and scratch", needs_disks=True),
    Kind("worker-cut", 4, "worker", 0.0, 5.0, "a worker's connections are reset, and new ones too"),
    Kind("worker-hole", 3, "worker", 1.0, 9.0, "a worker's bytes vanish in both directions, half-open"),
    Kind("worker-deaf", 2, "worker", 1.0, 9.0, "a worker is heard and hears nothing"),
    Kind("worker-slow", 2, "worker", 2.0, 8.0, "each piece of a worker's traffic comes 0.3 s late"),
    Kind("client-cut", 1.5, "scheduler", 0.0, 2.0, "clients' connections to a scheduler are reset"),
    Kind("client-hole", 1, "scheduler", 0.5, 4.0, "clients' bytes to a scheduler and back vanish"),
    Kind("scheduler-kill", 4, "scheduler", 0.1, 3.0, "kill -9 to a scheduler"),
    Kind("scheduler-stop", 1, "scheduler", 0.1, 2.0, "TERM to a scheduler, which drains"),
    Kind("scheduler-freeze", 1, "scheduler", 0.5, 4.0, "SIGSTOP to a scheduler, SIGCONT later"),
    Kind("scheduler-stall", 1, "scheduler", 6.0, 9.0, "a scheduler stands still for longer than a lease"),
    Kind("store-cut", 1, "scheduler", 0.0, 3.0, "a scheduler's connections to PostgreSQL are reset"),
    Kind("store-hole", 1, "scheduler", 0.5, 6.0, "a scheduler's bytes to PostgreSQL and back vanish"),
    Kind("store-slow", 1, "scheduler", 1.0, 5.0, "each piece between a scheduler and PostgreSQL comes 0.1 s late"),
    Kind("backend-terminate", 2, "postgres", 0.0, 0.0, "pg_terminate_backend of one in three backends, or of all"),
    Kind("backend-kill", 1, "postgres", 0.0, 0.0, "kill -9 to a backend: PostgreSQL throws all out and recovers"),
    Kind("postmaster-kill", 0.7, "postgres", 0.1, 2.0, "kill -9 to the postmaster"),
    Kind("postgres-kill", 0.7, "postgres", 0.1, 2.0, "kill -9 to the whole tree of PostgreSQL"),
    Kind("postmaster-freeze", 0.4, "postgres", 0.5, 4.0, "SIGSTOP to the postmaster: no new connections"),
    Kind("postgres-freeze", 0.6, "postgres", 0.5, 7.0, "SIGSTOP to the whole tree of PostgreSQL"),
    Kind("no-connections", 0.7, "postgres", 1.0, 5.0, "others hold all connections that PostgreSQL has"),
    Kind(
        "postgres-disk-full",
        0.5,
        "postgres",
        1.5,
        6.0,
        "no space for PostgreSQL's tables and, half of the time, WAL",
        needs_disks=True,
    ),
    Kind("row-locks", 2, "postgres", 3.0, 9.0, "another session's transaction locks some rows of one table, and idles"),
    Kind("many-row-locks", 1, "postgres", 3.0, 9.0, "the same of several tables at once"),
    Kind("table-lock", 0.7, "postgres", 1.0, 7.0, "another session's transaction locks a whole table, and idles"),
    Kind("open-transaction", 2, "postgres", 3.0, 14.0, "a session of another database leaves a transaction open"),
    Kind("dispatch-lock", 2, "postgres", 3.0, 14.0, "another session holds the lock under which tasks are claimed"),
    Kind("clock-jump", 2, "scheduler", 2.0, 12.0, "a scheduler's clock is off by seconds, hours or days"),
    Kind("everything-kill", 0.5, EVERYTHING, 0.1, 2.0, "kill -9 to every process of all at once"),
    Kind("everything-freeze", 0.3, EVERYTHING, 0.5, 9.0, "SIGSTOP to every process of all, SIGCONT later"),
)
"""All kinds. Their weights make about one fault in ten one of PostgreSQL or a scheduler."""


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    """Seconds after the begin."""
    kind: str
    victim: str
    duration: float
    salt: int
    """For what the fault itself has to choose, such as a backend."""


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
