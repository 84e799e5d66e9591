"""Of tasks: every acknowledged submit is there once, came to a legal end by a legal path, and is counted as it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf

from lab.chaos.evidence import Event, Evidence, Problem, StoredTask, Submit, Unsure
from lab.chaos.properties.results import attempts
from scheduler_svc.domain.lifecycle import AUTO_RETRY, MOVES, OPEN, RUNNING, Status

_Step = tuple[float, int, str]
"""When the leases of an account became one more, or one fewer, by which task."""


def submits(evidence: Evidence) -> Iterator[Problem]:
    """Every acknowledged submit is there, as it was submitted, by the database and by the API.

    Nothing is there twice, or without a submit. An unsure submit is there once, or not at all.
    """
    for submit in evidence.journals.submits:
        yield from ((submit.task_id, problem) for problem in _missing(submit, evidence))
    tasks, journals = evidence.stored.tasks.values(), evidence.journals
    times = Counter((task.account_id, task.request_id) for task in tasks)
    for task in tasks:
        if task.request_id and (n := times[task.account_id, task.request_id]) > 1:
            yield task.task_id, f"its request_id has {n} tasks, and should have one"
    payloads = {*map(_payload, journals.submits), *map(_payload, journals.unsure)}
    ticked = {tick.task_id for tick in evidence.stored.ticks}
    for task in tasks:
        if task.task_id not in ticked and _payload(task) not in payloads:
            yield task.task_id, "it is in the database, but nobody submitted it"


def _missing(submit: Submit, evidence: Evidence) -> Iterator[str]:
    stored = evidence.stored.tasks.get(submit.task_id)
    answered = evidence.answers.tasks.get(submit.task_id)
    if stored is None:
        yield "its submit was acknowledged, but the database does not have it"
    elif _payload(stored) != _payload(submit):
        yield "the database has another account, request_id or topic than was acknowledged"
    if answered is None:
        yield "its submit was acknowledged, but the API does not know it"
    elif (answered.account_id, answered.topic_sha256) != (submit.account_id, submit.topic_sha256):
        yield "the API shows another account or topic than was acknowledged"
    elif stored is not None and answered.status is not stored.status:
        yield f"the API says {answered.status.label}, the database {stored.status.label}"


def _payload(task: Submit | Unsure | StoredTask) -> tuple[int, str | None, str]:
    return task.account_id, task.request_id, task.topic_sha256


def histories(evidence: Evidence) -> Iterator[Problem]:
    """Every task came to a legal end by a legal path, and each move under a lease was made under the latest one.

    An acknowledged cancel is a cancelled task.
    """
    for task in evidence.stored.tasks.values():
        events = evidence.stored.events.get(task.task_id, ())
        for problem in (*_path(task, events), *_leases(events), *_retries(task, events)):
            yield task.task_id, problem
        history = evidence.answers.histories.get(task.task_id)
        if history is not None and list(history) != [(event.status, event.attempt) for event in events]:
            yield task.task_id, "the API shows another history than the database has"
    for cancel in evidence.journals.cancels:
        stored = evidence.stored.tasks.get(cancel.task_id)
        if stored is not None and stored.status is not Status.CANCELLED:
            yield cancel.task_id, f"its cancel was acknowledged, but it is {stored.status.label}"


def _path(task: StoredTask, events: Sequence[Event]) -> Iterator[str]:
    """Gapless, from nothing to where the task stands, along edges of the transition table."""
    if not events:
        yield "it has no history"
        return
    if events[0].previous is not Status.NONE:
        yield f"its history begins with {events[0].previous.label}, not with nothing"
    for event in events:
        if (event.previous, event.status) not in MOVES:
            yield f"the transition table does not let it go from {event.previous.label} to {event.status.label}"
    for before, after in pairwise(events):
        if before.status is not after.previous:
            yield f"its history goes on from {after.previous.label}, but it was {before.status.label}"
    if events[-1].status is not task.status:
        yield f"it is {task.status.label}, but its history ends with {events[-1].status.label}"
    if task.status in OPEN:
        yield f"it never ended: it is still {task.status.label}"


def _leases(events: Sequence[Event]) -> Iterator[str]:
    """Attempts count up by one, and what moves a leased task, or completes it, is its latest lease."""
    latest, holder = 0, ""
    for event in events:
        is_of_lease = event.previous in RUNNING or event.status is Status.COMPLETED
        if event.status is Status.SUBMITTED:
            if event.attempt != latest + 1:
                yield f"attempt {event.attempt} was granted after attempt {latest}"
            latest, holder = event.attempt, event.worker
        elif is_of_lease and (event.attempt, event.worker) != (latest, holder):
            yield (
                f"attempt {event.attempt} of {event.worker or 'nobody'} moved it to {event.status.label}, "
                f"while attempt {latest} of {holder or 'nobody'} was the latest"
            )


def _retries(task: StoredTask, events: Sequence[Event]) -> Iterator[str]:
    retries = max(sum(event.reason == AUTO_RETRY for event in events), task.retry_count)
    if retries > task.max_retries:
        yield f"it was retried {retries} times, {task.max_retries} at most were allowed"


def counts(evidence: Evidence) -> Iterator[Problem]:
    """The counts of GetTaskStats are the truth, every task stands where its state says, and no lease is left.

    For all tasks, and for each account that was asked for.
    """
    tasks = evidence.stored.tasks.values()
    for account_id, numbers in evidence.answers.counts.items():
        true = Counter(task.status.label for task in tasks if account_id in (0, task.account_id))  # 0: of all
        scope = f"account {account_id}" if account_id else "all accounts"
        for label in (status.label for status in Status if status is not Status.NONE):
            if (count := numbers.get(label, 0)) != true[label]:
                yield "", f"{count} tasks of {scope} are said to be {label}; it is {true[label]}"
    for task in tasks:
        expected = 1 if task.status in OPEN else 0
        if len(task.places) != expected:
            places = ", ".join(task.places) or "nowhere"
            yield task.task_id, f"it is {task.status.label} and stands in {places}; it should stand in {expected} place"
    for task_id in evidence.stored.leases:
        yield task_id, "a lease of it is left"


def caps(evidence: Evidence) -> Iterator[Problem]:
    """No account has more tasks under way at any time than its limit allows.

    From grants and ends of leases: an end at the time of a grant comes before it.
    """
    steps_of: dict[int, list[_Step]] = defaultdict(list)
    for task in evidence.stored.tasks.values():
        if task.account_id in evidence.stored.caps:
            steps_of[task.account_id] += _steps(task.task_id, evidence.stored.events.get(task.task_id, ()))
    for account_id, cap in evidence.stored.caps.items():
        leases = 0
        steps = sorted(steps_of[account_id])
        for index, (time, step, task_id) in enumerate(steps):
            leases += step
            if step > 0 and leases > cap:
                seconds = next((end for end, change, _ in steps[index:] if change < 0), inf) - time
                problem = f"its grant was lease {leases} of account {account_id}, which may have {cap}"
                yield task_id, f"{problem}, for {seconds:.3f} s at least"


def _steps(task_id: str, events: Sequence[Event]) -> Iterator[_Step]:
    for attempt in attempts(events):
        yield attempt.granted, 1, task_id
        if attempt.ending is not None:
            yield attempt.ending.time, -1, task_id
