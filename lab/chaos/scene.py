"""Where faults happen: the fleet, and the journal of what was done to it. Between `fleet` and the strikes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lab.chaos import evidence
from lab.chaos.fleet import Fleet, Member
from lab.chaos.journals import Appender
from lab.chaos.plan import Fault


class MissedError(Exception):
    """The victim is not there to be hurt: it has not come back from something else."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a strike may use."""

    fleet: Fleet
    journal: Appender

    def member(self, fault: Fault) -> Member:
        """Returns the victim, which runs. Raises MissedError."""
        member = self.fleet.members[fault.victim]
        if not member.service.alive:
            raise MissedError
        return member

    def note(self, fault: Fault, does: str, *victims: str, tables: str = "", **more: object) -> None:
        """Journals that `does` is being done to each of `victims`, as part of `fault`."""
        for victim in victims:
            now, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
            record = evidence.Fault(does, victim, now, boottime, fault.duration, fault.kind, fault.at, tables)
            self.journal.append(record, **more)


Strike = Callable[[Scene, Fault], AbstractContextManager[None]]
"""Hurts on entering, and undoes it on leaving. Raises MissedError."""
