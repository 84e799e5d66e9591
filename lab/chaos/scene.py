"""Where faults happen: the fleet, and the journal of what was done to it. Between `fleet` and the strikes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.chaos import evidence
from lab.chaos.fleet import Fleet
from lab.chaos.journals import Appender
from lab.chaos.plan import Fault
from lab.deployment.database import Database
from lab.deployment.deployment import Node


class MissedError(Exception):
    """The victim is not there to be hurt: it has not come back from something else."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a strike may use."""

    fleet: Fleet
    journal: Appender

    @property
    def database(self) -> Database:
        return self.fleet.database

    def node(self, fault: Fault) -> Node:
        """Returns the victim, which runs. Raises MissedError."""
        node = self.fleet.nodes[fault.victim]
        if not node.alive:
            raise MissedError
        return node

    def note(self, fault: Fault, does: str, *victims: str, tables: str = "", **more: object) -> None:
        """Journals that `does` is being done to each of `victims`, or to the fault's victim, as part of `fault`."""
        for victim in victims or (fault.victim,):
            now, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
            record = evidence.Fault(does, victim, now, boottime, fault.duration, fault.kind, fault.at, tables)
            self.journal.append(record, **more)


Strike = Callable[[Scene, Fault], Iterator[None]]
"""Hurts, yields, and undoes it. Raises MissedError."""
