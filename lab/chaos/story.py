"""A short campaign made by hand, which keeps every promise, and the ways to change a little of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.chaos import evidence as records
from lab.chaos.evidence import Event, Evidence, Received
from scheduler_svc.domain.lifecycle import Status

S = Status
ACCOUNT = 7
"""It may have one task under way."""
SCHEDULE = 3


def task(task_id: str, status: Status = S.COMPLETED, content_id: int | None = None) -> records.StoredTask:
    return records.StoredTask(
        task_id, ACCOUNT, status, f"request of {task_id}", f"topic of {task_id}", True, 0, 3, content_id
    )


def run(name: str, task_id: str, worker: str, begin: float, end: float, *, killed: bool = False) -> records.Run:
    """Returns a run whose times of both clocks are alike."""
    status, body = (None, None) if killed else (0, f"body of {name}")
    file = None if killed else f"file of {name}"
    return records.Run(task_id, name, worker, begin, begin, end, status, body, file, printed=not killed)


def move(source: Status, target: Status, time: float, *, by: tuple[int, str] = (0, ""), reason: str = "") -> Event:
    """`by` an attempt of a worker."""
    return Event(source, target, time, *by, reason)


def leased(begin: float, attempt: int, worker: str) -> list[Event]:
    source = attempt, worker
    return [move(S.PENDING, S.SUBMITTED, begin, by=source), move(S.SUBMITTED, S.PROCESSING, begin + 0.1, by=source)]


def completed(begin: float, attempt: int, worker: str, end: float) -> list[Event]:
    return [*leased(begin, attempt, worker), move(S.PROCESSING, S.COMPLETED, end, by=(attempt, worker))]


def lost(begin: float, attempt: int, worker: str, end: float) -> list[Event]:
    failed = move(S.PROCESSING, S.FAILED, end, by=(attempt, worker), reason="WORKER_LOST")
    requeued = move(S.FAILED, S.PENDING, end, by=(attempt, worker), reason="REQUEUED")
    return [*leased(begin, attempt, worker), failed, requeued]


def content(content_id: int, task_id: str, of: str) -> records.StoredContent:
    return records.StoredContent(content_id, task_id, ACCOUNT, f"body of {of}", of, assets=(f"file of {of}",))


SUBMITTED = move(S.NONE, S.PENDING, 0)
EVENTS: Mapping[str, list[Event]] = {
    "twice": [SUBMITTED, *lost(10, 1, "v", 20), *completed(21, 2, "w", 30)],
    "once": [SUBMITTED, *completed(30, 1, "v", 40)],
    "cancelled": [SUBMITTED, move(S.PENDING, S.CANCELLED, 5)],
}
_ALL = (task("twice", content_id=1), task("once", content_id=2), task("cancelled", S.CANCELLED))
TASKS = {entry.task_id: entry for entry in _ALL}
RUNS = (
    run("killed", "twice", "v", 11, 12, killed=True),
    run("good", "twice", "w", 22, 29),
    run("only", "once", "v", 31, 39),
)


def as_shown(stored: records.Stored, answers: records.Answers) -> records.Answers:
    """Returns the same answers, but of histories and contents, which are as they are stored."""
    return replace(
        answers,
        histories={name: [(event.status, event.attempt) for event in events] for name, events in stored.events.items()},
        bodies={content.task_id: content.body_sha256 for content in stored.contents},
        pool=stored.pool,
    )


_STORED = records.Stored(
    tasks=TASKS,
    events=EVENTS,
    contents=[content(1, "twice", "good"), content(2, "once", "only")],
    pool=[1, 2],
    logs={("twice", 2), ("once", 1)},
    assets={"file of good", "file of only"},
    caps={ACCOUNT: 1},
)
_ANSWERS = records.Answers(
    tasks={name: records.AnsweredTask(entry.status, ACCOUNT, entry.topic_sha256) for name, entry in TASKS.items()},
    counts={account: {"completed": 2, "cancelled": 1} for account in (0, ACCOUNT)},
    files={name: name for name in _STORED.assets},
)
TICKS = (records.StoredTick("once", SCHEDULE, 60), records.StoredTick("twice", SCHEDULE, 120))
"""Of the schedule of `scheduled`."""
RECEIVED = (
    Received("event 1", "task.ended", "cancelled", "cancelled", accepted=True),
    Received("event 2", "content.approved", "twice", "approved", accepted=False),
    Received("event 2", "content.approved", "twice", "approved", accepted=True),
    Received("event 2", "content.approved", "twice", "approved", accepted=True),
    Received("event 3", "task.ended", "twice", "completed", accepted=True),
    Received("event 4", "content.approved", "once", "approved", accepted=True),
    Received("event 5", "task.ended", "once", "completed", accepted=True),
)
"""What the webhook of `subscribed` gets: one event was refused first, and came once more than it had to."""
GOOD = Evidence(
    records.Journals(
        runs=RUNS,
        submits=[records.Submit(name, f"request of {name}", ACCOUNT, f"topic of {name}", 0) for name in TASKS],
        unsure=[records.Unsure("never came", ACCOUNT, "a topic", 0)],
        cancels=[records.Cancel("cancelled", "cancelled", 5)],
    ),
    _STORED,
    as_shown(_STORED, _ANSWERS),
)


def journaled(**changed: Any) -> Evidence:
    return replace(GOOD, journals=replace(GOOD.journals, **changed))


def stored(**changed: Any) -> Evidence:
    """The API shows it, but for states and counts."""
    now = replace(GOOD.stored, **changed)
    return replace(GOOD, stored=now, answers=as_shown(now, GOOD.answers))


def answered(**changed: Any) -> Evidence:
    return replace(GOOD, answers=replace(GOOD.answers, **changed))


def with_task(name: str, **changed: Any) -> Evidence:
    return stored(tasks={**TASKS, name: replace(TASKS[name], **changed)})


def runs(name: str, **changed: Any) -> list[records.Run]:
    """Returns all of them, one changed."""
    return [replace(entry, **changed) if entry.run == name else entry for entry in RUNS]


def with_run(name: str, **changed: Any) -> Evidence:
    return journaled(runs=runs(name, **changed))


def with_history(name: str, events: list[Event]) -> Evidence:
    return stored(events={**EVENTS, name: events})


def with_event(name: str, index: int, **changed: Any) -> Evidence:
    events = list(EVENTS[name])
    events[index] = replace(events[index], **changed)
    return with_history(name, events)


def with_content(content_id: int, **changed: Any) -> Evidence:
    rows = [replace(entry, **changed) if entry.content_id == content_id else entry for entry in GOOD.stored.contents]
    return stored(contents=rows)


def let_go(*faults: records.Fault) -> Evidence:
    """The first run of `twice` had a result, and its worker came back without it."""
    evidence = with_event("twice", 3, message="its worker does not hold it any more")
    changed = runs("killed", status=0, body_sha256="lost", printed=True, last=12)
    return replace(evidence, journals=replace(GOOD.journals, runs=changed, faults=faults))


def with_twin(name: str) -> Evidence:
    twin = replace(TASKS[name], task_id="twin")
    return stored(tasks={**TASKS, "twin": twin}, events={**EVENTS, "twin": EVENTS[name]})


def unfinished(name: str) -> Evidence:
    """A task that still waits, as all agree."""
    waiting = with_history(name, [SUBMITTED])
    tasks = {**TASKS, name: replace(TASKS[name], status=S.PENDING, places=("ready",))}
    task_answers = {**GOOD.answers.tasks, name: replace(GOOD.answers.tasks[name], status=S.PENDING)}
    counts = {account: {"completed": 2, "pending": 1} for account in (0, ACCOUNT)}
    answers = replace(waiting.answers, tasks=task_answers, counts=counts)
    return Evidence(replace(GOOD.journals, cancels=[]), replace(waiting.stored, tasks=tasks), answers)


def stale_body() -> Evidence:
    """The second attempt completed the task, with what the first one has made."""
    stale = replace(RUNS[0], status=0, body_sha256="body of killed", file_sha256="file of good")
    evidence = with_content(1, run=stale.run, body_sha256=stale.body_sha256)
    return replace(evidence, journals=replace(GOOD.journals, runs=[stale, *RUNS[1:]]))


def watched() -> list[records.Watched]:
    """Returns what a watcher of the account is told, task by task."""
    return [
        records.Watched(
            name, ACCOUNT, "" if event.previous is S.NONE else event.previous.label, event.status.label, event.time
        )
        for name, events in EVENTS.items()
        for event in events
    ]


def scheduled(*ticks: records.StoredTick) -> Evidence:
    """A schedule had to have the ticks of 60 and 120 s."""
    evidence = journaled(schedules=[records.Scheduled(SCHEDULE, ACCOUNT, begin=30, until=150, jitter=30)])
    return replace(evidence, stored=replace(GOOD.stored, ticks=ticks))


def subscribed(received: Sequence[Received]) -> Evidence:
    return journaled(subscribed=[records.Subscribed(1)], received=received)


def retried_and_told(*statuses: str) -> Evidence:
    """A task failed, was retried by a client and completed; its ends were told in this order."""
    failed = [
        *leased(2, 1, "v"),
        move(S.PROCESSING, S.FAILED, 4, by=(1, "v"), reason="CREATOR_FAILED"),
        move(S.FAILED, S.PENDING, 6, reason="RETRIED_BY_CLIENT"),
    ]
    evidence = with_history("once", [SUBMITTED, *failed, *completed(30, 2, "v", 40)])
    evidence = replace(evidence, stored=replace(evidence.stored, logs={("twice", 2), ("once", 2)}))
    copies = [Received(f"event {status}", "task.ended", "once", status, accepted=True) for status in statuses]
    other_deliveries = [
        delivery for delivery in RECEIVED if (delivery.task_id, delivery.type) != ("once", "task.ended")
    ]
    return replace(
        evidence,
        journals=replace(GOOD.journals, subscribed=[records.Subscribed(1)], received=[*other_deliveries, *copies]),
    )


def cancelled_by_force() -> Evidence:
    """A task was cancelled in the middle of its run, which went on for half a second longer than it may."""
    cancel = move(S.PROCESSING, S.CANCELLED, 33.5, by=(1, "v"), reason="CANCELLED_BY_CLIENT")
    now = replace(
        GOOD.stored,
        tasks={**TASKS, "once": replace(TASKS["once"], status=S.CANCELLED, content_id=None)},
        events={**EVENTS, "once": [*EVENTS["once"][:-1], cancel]},
        contents=GOOD.stored.contents[:1],
        pool=[1],
    )
    counts = {account: {"completed": 1, "cancelled": 2} for account in (0, ACCOUNT)}
    tasks = {**GOOD.answers.tasks, "once": replace(GOOD.answers.tasks["once"], status=S.CANCELLED)}
    answers = replace(as_shown(now, GOOD.answers), tasks=tasks, counts=counts)
    return replace(GOOD, stored=now, answers=answers)
