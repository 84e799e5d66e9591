"""The judge of a campaign: all promises of the system as functions of the evidence. It reads nothing by itself.

Each property is shown to have teeth by a hand-made piece of evidence that breaks it (`test_chaos_checker`), and most
are by a product that was broken in that way, too (`mutants`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lab.chaos.evidence import Evidence, Problem
from lab.chaos.properties import notices, results, tasks

_PROPERTIES: tuple[Callable[[Evidence], Iterator[Problem]], ...] = (
    tasks.submits,
    tasks.histories,
    results.contents,
    results.assets,
    results.logs,
    results.results,
    results.runs,
    tasks.counts,
    tasks.caps,
    notices.watches,
    notices.ticks,
    notices.webhooks,
    notices.locks,
    notices.leftovers,
)
PROPERTIES: Mapping[str, Callable[[Evidence], Iterator[Problem]]] = {judge.__name__: judge for judge in _PROPERTIES}


@dataclass(frozen=True, slots=True)
class Violation:
    property: str
    """Its name in `PROPERTIES`."""
    task_id: str
    problem: str

    def __str__(self) -> str:
        return f"{self.property}: {self.task_id + ': ' if self.task_id else ''}{self.problem}"


def check(evidence: Evidence) -> list[Violation]:
    """Returns every promise that was broken; empty: all hold."""
    return [Violation(name, *problem) for name, judge in PROPERTIES.items() for problem in judge(evidence)]
