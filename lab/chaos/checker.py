"""The judge of a campaign: all promises of the system as functions of the evidence. It reads nothing by itself.

Each property is a file in `properties/`. Each is shown to have teeth by a hand-made piece of evidence that breaks it
(`test_checker`), and most are by a product that was broken in that way, too (`mutants`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from lab.chaos.evidence import Evidence
from lab.chaos.properties import (
    assets,
    caps,
    contents,
    counts,
    histories,
    locks,
    logs,
    results,
    runs,
    submits,
    ticks,
    watches,
    webhooks,
)
from lab.chaos.violation import Violation

LEFTOVERS = "leftovers"


def _leftovers(evidence: Evidence) -> Iterator[Violation]:
    """Nothing is left once all services have stopped."""
    for leftover in evidence.leftovers:
        yield Violation(LEFTOVERS, "", f"a {leftover.kind} is left: {leftover.what}")


PROPERTIES: Mapping[str, Callable[[Evidence], Iterator[Violation]]] = {
    submits.NAME: submits.submits,
    histories.NAME: histories.histories,
    contents.NAME: contents.contents,
    assets.NAME: assets.assets,
    logs.NAME: logs.logs,
    results.NAME: results.results,
    runs.NAME: runs.runs,
    counts.NAME: counts.counts,
    caps.NAME: caps.caps,
    watches.NAME: watches.watches,
    ticks.NAME: ticks.ticks,
    webhooks.NAME: webhooks.webhooks,
    locks.NAME: locks.locks,
    LEFTOVERS: _leftovers,
}


def check(evidence: Evidence) -> list[Violation]:
    """Every promise that was broken; empty: all hold."""
    return [violation for judge in PROPERTIES.values() for violation in judge(evidence)]
