"""Two runs of a task are never alive at the same time, and none starts without a lease."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos.attempts import attempt_of
from tests.chaos.evidence import FREEZE, Evidence, Fault, Run
from tests.chaos.violation import Violation

NAME = "runs"
THAWING = 3.0
"""Seconds that a guard may take, once it is thawed, to end what it should have ended while it was frozen: its grace
between TERM and KILL with the shortest lease, and a little for a busy machine.
"""


def runs(evidence: Evidence) -> Iterator[Violation]:
    """By CLOCK_BOOTTIME: a run is alive from its start to its end, or as long as it was seen to be."""
    for former, later in side_by_side(evidence.journals.runs):
        if not under_frozen_guard(former, later, evidence.journals.faults):
            said = (
                f"run {former.run} of {former.worker} was alive {former.last - later.boottime:.2f} s after "
                f"run {later.run} of {later.worker} had started"
            )
            yield Violation(NAME, former.task_id, said)
    for run in evidence.journals.runs:
        events = evidence.stored.events.get(run.task_id, ())
        if attempt_of(run, events) is None and not _freezes(run, run.boottime, evidence.journals.faults):
            said = f"run {run.run} of {run.worker} started while that worker had no lease, or one that was superseded"
            yield Violation(NAME, run.task_id, said)


def side_by_side(journaled: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Pairs of runs of one task that were alive at the same time: the earlier one, then the later one."""
    of_task: dict[str, list[Run]] = defaultdict(list)
    for run in journaled:
        of_task[run.task_id].append(run)
    for own in of_task.values():
        own.sort(key=lambda run: run.boottime)
        longest = own[0]
        for run in own[1:]:
            if longest.last > run.boottime:
                yield longest, run
            longest = max(longest, run, key=lambda one: one.last)


def under_frozen_guard(former: Run, later: Run, faults: Sequence[Fault]) -> bool:
    """Whether the earlier run lived on only because its guard was stopped: then nothing of ours can end it.

    What it makes is refused by the fence; that its time was paid for twice can't be helped, and is counted.
    """
    return any(fault.boottime < later.boottime for fault in _freezes(former, former.last, faults))


def _freezes(run: Run, at: float, faults: Sequence[Fault]) -> list[Fault]:
    """Those of the run's guard that may be why it was alive at that time of CLOCK_BOOTTIME."""
    return [
        fault
        for fault in faults
        if fault.kind == FREEZE
        and fault.victim == f"{run.worker}/guard"
        and fault.boottime <= at < fault.boottime + fault.duration + THAWING
    ]
