"""Of runs and what they make: each has a lease of its own, and a result that is made is stored once, as it was made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from lab.chaos import evidence as records
from lab.chaos.evidence import Event, Evidence, Problem, Run
from scheduler_svc.domain.lifecycle import RUNNING, Status

_SHORT_TIMEOUT = 60.0
"""Seconds: of an attempt that may not take as long, what is left for its uploads is over soon on a busy machine."""
_LET_GO = frozenset({"NOT_HELD", "its worker does not hold it any more"})
"""Reason or message of the move that ends a lease which its worker, in a new session, does not name: it says that
nothing of it is left, not even a mark that a CLI was started. With a result it says so only once that is committed.
"""
_THAWING = 1.0
"""Seconds that a guard may take, once it is thawed with its worker, to end what it should have ended meanwhile: KILL
follows TERM at once then, and the rest is for a busy machine.
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    number: int
    worker: str
    granted: float
    """Seconds since the epoch; what runs under it starts later."""
    until: float
    """When the next one was granted; infinite for the last one."""
    ending: Event | None
    """What ended it; None while it runs."""

    def may_have_started(self, run: Run) -> bool:
        return run.worker == self.worker and self.granted <= run.time < self.until


def attempts(events: Sequence[Event]) -> list[Attempt]:
    grants = [index for index, event in enumerate(events) if event.status is Status.SUBMITTED]
    result = []
    for index, following in pairwise([*grants, len(events)]):
        grant = events[index]
        ending = next((event for event in events[index + 1 : following] if event.status not in RUNNING), None)
        end = events[following].time if following < len(events) else inf
        result.append(Attempt(grant.attempt, grant.worker, grant.time, end, ending))
    return result


def attempt_of(run: Run, events: Sequence[Event]) -> Attempt | None:
    """Returns the attempt that the run belongs to; None where nobody was entitled to it."""
    return next((attempt for attempt in attempts(events) if attempt.may_have_started(run)), None)


def disk_was_full(run: Run, faults: Sequence[records.Fault]) -> bool:
    return any(
        fault.kind == records.DISK_FULL
        and fault.victim == run.worker
        and fault.boottime <= run.last <= fault.boottime + fault.duration + 5.0  # until what was in memory is on it
        for fault in faults
    )


def contents(evidence: Evidence) -> Iterator[Problem]:
    """A completed task has one content, with the body of its accepted attempt, and one entry in the pool at most."""
    of_task: dict[str, list[records.StoredContent]] = defaultdict(list)
    for content in evidence.stored.contents:
        of_task[content.task_id].append(content)
    for task_id in of_task.keys() - evidence.stored.tasks.keys():
        yield task_id, "it has a content, but there is no such task"
    runs_by_name = {run.run: run for run in evidence.journals.runs}
    for task in evidence.stored.tasks.values():
        rows = of_task[task.task_id]
        origins = (origin for content in rows for origin in _origin(content, runs_by_name, evidence))
        for problem in (*_rows(task, rows), *_shown(task, rows, evidence.answers), *origins):
            yield task.task_id, problem
    yield from _pool(evidence)


def _rows(task: records.StoredTask, rows: list[records.StoredContent]) -> Iterator[str]:
    expected = 1 if task.status is Status.COMPLETED else 0
    if len(rows) != expected:
        yield f"it is {task.status.label} and has {len(rows)} contents; it should have {expected}"
    elif rows and (rows[0].content_id, rows[0].account_id) != (task.content_id, task.account_id):
        yield f"its content is {rows[0].content_id} of account {rows[0].account_id}, which is not what the task says"


def _shown(task: records.StoredTask, rows: list[records.StoredContent], answers: records.Answers) -> Iterator[str]:
    body = answers.bodies.get(task.task_id)
    if rows and body is None:
        yield "the API shows no content of it"
    elif body is not None and body not in {content.body_sha256 for content in rows}:
        yield "the API shows a content of it that the database does not have"


def _origin(content: records.StoredContent, runs_by_name: Mapping[str, Run], evidence: Evidence) -> Iterator[str]:
    """Checks whose body it is: a run's that the attempt which completed the task was entitled to."""
    run = runs_by_name.get(content.run or "")
    if run is None:
        yield "the body of its content comes from no run that was journaled"
        return
    if run.task_id != content.task_id:
        yield f"the body of its content was made for {run.task_id}"
        return
    if run.status != 0 or run.body_sha256 != content.body_sha256:
        yield "the body of its content is not the one that its run ended with"
    events = evidence.stored.events.get(content.task_id, ())
    completed = next((event for event in events if event.status is Status.COMPLETED), None)
    if completed is None:
        return
    accepted = next((attempt for attempt in attempts(events) if attempt.number == completed.attempt), None)
    if accepted is None or not accepted.may_have_started(run):
        yield (
            f"attempt {completed.attempt} of {completed.worker} completed it, but the body of its content is from a "
            f"run of {run.worker} that this attempt did not start"
        )


def _pool(evidence: Evidence) -> Iterator[Problem]:
    entries = Counter(evidence.stored.pool)
    if entries != Counter(evidence.answers.pool):
        yield "", "the API shows other entries of the publish pool than the database has"
    for content in evidence.stored.contents:
        n = entries.pop(content.content_id, 0)
        task = evidence.stored.tasks.get(content.task_id)
        expected = {1} if task is None or task.auto_approve else {0, 1}
        if n not in expected:
            wanted = " or ".join(map(str, expected))
            yield content.task_id, f"its content has {n} entries in the publish pool; it should have {wanted}"
    for content_id in entries:
        yield "", f"the publish pool has an entry for content {content_id}, which is not there"


def assets(evidence: Evidence) -> Iterator[Problem]:
    """A content names the file that its run made, which is stored and can be read as it was.

    A worker may leave the file out if its disk was full, or its task's timeout is short.
    """
    runs_by_name = {run.run: run for run in evidence.journals.runs}
    for content in evidence.stored.contents:
        run = runs_by_name.get(content.run or "")
        task = evidence.stored.tasks.get(content.task_id)
        hurried = task is not None and task.timeout < _SHORT_TIMEOUT and content.assets == ("",)
        if run is not None and not hurried and not disk_was_full(run, evidence.journals.faults):
            files = () if run.file_sha256 is None else (run.file_sha256,)
            if content.assets != files:
                content_files, run_files = _list(content.assets), _list(files)
                yield content.task_id, f"its content names the files {content_files}, and its run made {run_files}"
        for sha256 in filter(None, content.assets):
            named = f"its content names the file {sha256[:8]}"
            if sha256 not in evidence.stored.assets:
                yield content.task_id, f"{named}, which is not complete"
            if (digest := evidence.answers.files.get(sha256)) is None:
                yield content.task_id, f"{named}, which the API does not give"
            elif digest != sha256:
                yield content.task_id, f"{named}, and the API gives {digest}"


def _list(names: tuple[str, ...]) -> str:
    return f"[{', '.join(name[:8] or 'left out' for name in names)}]"


def logs(evidence: Evidence) -> Iterator[Problem]:
    """The attempt that completed a task has its log, and each log is of an attempt of a task's history.

    The campaign's CLI prints its result, so no attempt that completes a task is without output.
    """
    stored = evidence.stored
    known = {(task_id, event.attempt) for task_id, events in stored.events.items() for event in events}
    for task_id, attempt in sorted(set(stored.logs) - known):
        yield task_id, f"it has a log of attempt {attempt}, which its history does not have"
    for task_id, events in stored.events.items():
        for event in events:
            if event.status is Status.COMPLETED and (task_id, event.attempt) not in stored.logs:
                yield task_id, f"attempt {event.attempt} completed it and has no log"


def results(evidence: Evidence) -> Iterator[Problem]:
    """No worker lets go of a result that the database does not have: its attempt did not end with a release.

    That it was lost with its worker, expired, timed out or was cancelled is legal, as is a result that is refused.
    """
    for run in evidence.journals.runs:
        attempt = attempt_of(run, evidence.stored.events.get(run.task_id, ())) if run.printed else None
        ending = attempt.ending if attempt else None
        if attempt is None or ending is None or ending.status is Status.COMPLETED:
            continue
        if _LET_GO.isdisjoint((ending.reason, ending.message)):
            continue
        if not disk_was_full(run, evidence.journals.faults):  # what can't be written dies with its worker
            problem = (
                f"run {run.run} of {run.worker} made a result in attempt {attempt.number}, and the worker let go of it "
                f"({ending.message or ending.reason}), but it is not in the database"
            )
            yield run.task_id, problem


def runs(evidence: Evidence) -> Iterator[Problem]:
    """A run has a lease of its own, dies before that can expire, and is never alive beside another one of its task.

    It is alive from its start to its end, or as long as it was seen to be.
    """
    faults = evidence.journals.faults
    for former, later in side_by_side(evidence.journals.runs):
        # Where guard and worker are both stopped, nothing of ours can end the run.  What it makes is refused by the
        # fence; that its time was paid for twice can't be helped, and is counted.
        if not any(fault.boottime < later.boottime for fault in _freezes(former, former.last, faults)):
            problem = (
                f"run {former.run} of {former.worker} was alive {former.last - later.boottime:.2f} s after "
                f"run {later.run} of {later.worker} had started"
            )
            yield former.task_id, problem
    owned: Counter[tuple[str, int]] = Counter()
    for run in evidence.journals.runs:
        attempt = attempt_of(run, evidence.stored.events.get(run.task_id, ()))
        yield from ((run.task_id, problem) for problem in _lease(run, attempt, evidence))
        if attempt is not None:
            owned[run.task_id, attempt.number] += 1
    for (task_id, number), n in owned.items():
        if n > 1:
            yield task_id, f"attempt {number} had {n} runs; it should have one at most"


def _lease(run: Run, attempt: Attempt | None, evidence: Evidence) -> Iterator[str]:
    faults = evidence.journals.faults
    if attempt is None:
        if not _freezes(run, run.boottime, faults):
            yield f"run {run.run} of {run.worker} started while that worker had no lease, or one that was superseded"
    elif attempt.ending is not None:
        # Until its worker knows of the end, or has heard nothing for too long.
        notice = 0.0 if attempt.ending.message == "its lease expired" else evidence.lease_ttl
        too_long = run.time + run.last - run.boottime - attempt.ending.time - notice
        if too_long > 0 and not _freezes(run, run.last, faults):
            yield f"run {run.run} of {run.worker} was alive {too_long:.2f} s after its lease had to be over"


def side_by_side(journaled: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Yields pairs of runs of one task that were alive at the same time: the earlier one, then the later one."""
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


def _freezes(run: Run, moment: float, faults: Sequence[records.Fault]) -> list[records.Fault]:
    """Returns those that may be why the run was alive at that time of CLOCK_BOOTTIME: of its guard and its worker, too.

    Where the guard alone is stopped, the worker ends what it can't end.
    """
    nearby = [
        fault
        for fault in faults
        if fault.kind == records.FREEZE and fault.boottime <= moment < fault.boottime + fault.duration + _THAWING
    ]
    of_worker = [fault for fault in nearby if fault.victim == run.worker]
    return [fault for fault in nearby if fault.victim == f"{run.worker}/guard"] if of_worker else []
