"""The parts of a campaign, and how much of each there is for so many calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from lab.fuzz import hostile_scheduler, hostile_worker
from lab.fuzz.attack import Order, attack
from lab.fuzz.generating import every_path
from lab.fuzz.hostile_scheduler import LieOrder, lie
from lab.fuzz.hostile_worker import SessionOrder, hostile_sessions
from lab.fuzz.inputs.every import INPUTS, InputOrder, try_inputs, turns
from lab.fuzz.known import Known
from lab.fuzz.old_databases import cases
from lab.fuzz.old_databases.trial import DatabaseOrder, import_databases
from lab.fuzz.pool import Job
from lab.fuzz.services import Services

STRETCH = 2_000
"""Calls of one order, at most: a connection's."""
SESSIONS = 25
INPUTS_PER_ORDER = 1_000
DATABASES = 25
MAX_DATABASES = 250
"""Each takes a second of a core, and the shapes come again after 46."""
TARGETS = (*every_path(), hostile_worker.TARGET, hostile_scheduler.TARGET, *INPUTS, cases.TARGET)
"""All that can be attacked, by name."""


@dataclass(frozen=True)
class Plan:
    """What a campaign does, from one seed. Targets are RPCs, hostile peers and inputs, by their names."""

    seed: int
    calls: int
    only: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """RPCs to call."""
        return tuple(path for path in every_path() if self._wants(path))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Inputs to try."""
        return tuple(name for name in INPUTS if self._wants(name))

    @property
    def sessions(self) -> int:
        """Of hostile workers."""
        return self.calls // 250 if self._wants(hostile_worker.TARGET) else 0

    @property
    def lies(self) -> int:
        """Messages of hostile schedulers."""
        return self.calls // 40 if self._wants(hostile_scheduler.TARGET) else 0

    @property
    def databases(self) -> int:
        """Of the old application, to import."""
        return min(self.calls // 400, MAX_DATABASES) if self._wants(cases.TARGET) else 0

    def _wants(self, name: str) -> bool:
        return not self.only or name.endswith(self.only)

    def unknown(self) -> list[str]:
        """Wanted targets that there are none of."""
        return [suffix for suffix in self.only if not any(name.endswith(suffix) for name in TARGETS)]


def calls(plan: Plan, services: Services, known: Callable[[], Known]) -> Iterator[Job]:
    """Calls in turn to each path, each order made with what is known by then."""
    for first in range(0, plan.calls if plan.paths else 0, STRETCH):
        count = min(STRETCH, plan.calls - first)
        order = Order(services.scheduler.target, services.tokens, plan.paths, plan.seed, first, count, known())
        yield partial(attack, order)


def peers(plan: Plan, services: Services) -> Iterator[Job]:
    """A hostile scheduler, beside hostile workers."""
    if plan.lies:
        yield partial(lie, LieOrder(plan.seed, plan.lies))
    for first in range(0, plan.sessions, SESSIONS):
        count = min(SESSIONS, plan.sessions - first)
        order = SessionOrder(services.scheduler.target, services.tokens, plan.seed, first, count)
        yield partial(hostile_sessions, order)


def inputs(plan: Plan) -> Iterator[Job]:
    """One for four calls."""
    names, all_of_them = turns(plan.inputs), plan.calls // 4
    for first in range(0, all_of_them if names else 0, INPUTS_PER_ORDER):
        count = min(INPUTS_PER_ORDER, all_of_them - first)
        yield partial(try_inputs, InputOrder(names, plan.seed, first, count))


def databases(plan: Plan) -> Iterator[Job]:
    """One for four hundred calls; each order has a server of its own."""
    for first in range(0, plan.databases, DATABASES):
        yield partial(import_databases, DatabaseOrder(plan.seed, first, min(DATABASES, plan.databases - first)))
