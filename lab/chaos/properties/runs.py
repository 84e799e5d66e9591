"""A run has a lease of its own, dies before that can expire, and is never alive beside another one of its task."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lab.chaos.attempts import Attempt, attempt_of
from lab.chaos.evidence import FREEZE, Event, Evidence, Fault, Run
from lab.chaos.violation import Violation

NAME = "runs"
LEASE_EXPIRED = "its lease expired"
"""Message of the move by which a lease ends that nobody has renewed."""
THAWING = 1.0
"""Seconds that a guard may take, once it is thawed with its worker, to end what it should have ended meanwhile: KILL
follows TERM at once then, and the rest is for a busy machine.
"""


def runs(evidence: Evidence) -> Iterator[Violation]:
    """A run is alive from its start to its end, or as long as it was seen to be."""
    for former, later in side_by_side(evidence.journals.runs):
        if not by_nobody(former, later, evidence.journals.faults):
            problem = (
                f"run {former.run} of {former.worker} was alive {former.last - later.boottime:.2f} s after "
                f"run {later.run} of {later.worker} had started"
            )
            yield Violation(NAME, former.task_id, problem)
    owned: Counter[tuple[str, int]] = Counter()
    for run in evidence.journals.runs:
        attempt = attempt_of(run, evidence.stored.events.get(run.task_id, ()))
        for problem in _lease(run, attempt, evidence):
            yield Violation(NAME, run.task_id, problem)
        if attempt is not None:
            owned[run.task_id, attempt.number] += 1
    for (task_id, number), n in owned.items():
        if n > 1:
            yield Violation(NAME, task_id, f"attempt {number} had {n} runs; it should have one at most")


def _lease(run: Run, attempt: Attempt | None, evidence: Evidence) -> Iterator[str]:
    faults = evidence.journals.faults
    if attempt is None:
        if not _freezes(run, run.boottime, faults):
            yield f"run {run.run} of {run.worker} started while that worker had no lease, or one that was superseded"
    elif attempt.ending is not None:
        limit = attempt.ending.time + _longest_end(attempt.ending, evidence.lease_ttl)
        too_long = run.time + run.last - run.boottime - limit
        if too_long > 0 and not _freezes(run, run.last, faults):
            yield f"run {run.run} of {run.worker} was alive {too_long:.2f} s after its lease had to be over"


def _longest_end(ending: Event, lease_ttl: float) -> float:
    """Seconds from the end of a lease in the database until its worker knows, or has heard nothing for too long."""
    return 0.0 if ending.message == LEASE_EXPIRED else lease_ttl


def side_by_side(journaled: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Pairs of runs of one task that were alive at the same time: the earlier one, then the later one."""
    of_task: dict[str, list[Run]] = defaultdict(list)
    for run in journaled:
        of_task[run.task_id].append(run)
    for task_runs in of_task.values():
        task_runs.sort(key=lambda run: run.boottime)
        longest = task_runs[0]
        for run in task_runs[1:]:
            if longest.last > run.boottime:
                yield longest, run
            longest = max(longest, run, key=lambda candidate: candidate.last)


def by_nobody(former: Run, later: Run, faults: Sequence[Fault]) -> bool:
    """Whether the earlier run lived on only because guard and worker were stopped: then nothing of ours can end it.

    What it makes is refused by the fence; that its time was paid for twice can't be helped, and is counted.
    """
    return any(fault.boottime < later.boottime for fault in _freezes(former, former.last, faults))


def _freezes(run: Run, moment: float, faults: Sequence[Fault]) -> list[Fault]:
    """Those that may be why the run was alive at that time of CLOCK_BOOTTIME: of its guard, and of its worker, too.

    Where the guard alone is stopped, the worker ends what it can't end.
    """
    nearby = [
        fault
        for fault in faults
        if fault.kind == FREEZE and fault.boottime <= moment < fault.boottime + fault.duration + THAWING
    ]
    of_worker = [fault for fault in nearby if fault.victim == run.worker]
    return [fault for fault in nearby if fault.victim == f"{run.worker}/guard"] if of_worker else []
