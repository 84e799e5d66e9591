"""A completed task has one content and at most one entry in the publish pool, with the body of its accepted attempt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from scheduler_svc.domain.lifecycle import Status
from verification.chaos.attempts import attempts
from verification.chaos.evidence import Answers, Evidence, Run, StoredContent, StoredTask
from verification.chaos.violation import Violation

NAME = "contents"


def contents(evidence: Evidence) -> Iterator[Violation]:
    """Rows first, then what is in them."""
    of_task: dict[str, list[StoredContent]] = defaultdict(list)
    for content in evidence.stored.contents:
        of_task[content.task_id].append(content)
    for task_id in of_task.keys() - evidence.stored.tasks.keys():
        yield Violation(NAME, task_id, "it has a content, but there is no such task")
    runs = {run.run: run for run in evidence.journals.runs}
    for task in evidence.stored.tasks.values():
        own = of_task[task.task_id]
        origins = (said for content in own for said in _origin(content, runs, evidence))
        for said in (*_rows(task, own), *_shown(task, own, evidence.answers), *origins):
            yield Violation(NAME, task.task_id, said)
    yield from _pool(evidence)


def _rows(task: StoredTask, own: list[StoredContent]) -> Iterator[str]:
    wanted = 1 if task.status is Status.COMPLETED else 0
    if len(own) != wanted:
        yield f"it is {task.status.label} and has {len(own)} contents; it should have {wanted}"
    elif own and (own[0].content_id, own[0].account_id) != (task.content_id, task.account_id):
        yield f"its content is {own[0].content_id} of account {own[0].account_id}, which is not what the task says"


def _shown(task: StoredTask, own: list[StoredContent], answers: Answers) -> Iterator[str]:
    body = answers.bodies.get(task.task_id)
    if own and body is None:
        yield "the API shows no content of it"
    elif body is not None and body not in {content.body_sha256 for content in own}:
        yield "the API shows a content of it that the database does not have"


def _origin(content: StoredContent, runs: Mapping[str, Run], evidence: Evidence) -> Iterator[str]:
    """Whose body it is: a run's that the attempt which completed the task was entitled to."""
    run = runs.get(content.run or "")
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


def _pool(evidence: Evidence) -> Iterator[Violation]:
    entries = Counter(evidence.stored.pool)
    if entries != Counter(evidence.answers.pool):
        yield Violation(NAME, "", "the API shows other entries of the publish pool than the database has")
    for content in evidence.stored.contents:
        n = entries.pop(content.content_id, 0)
        task = evidence.stored.tasks.get(content.task_id)
        wanted = {1} if task is None or task.auto_approve else {0, 1}
        if n not in wanted:
            said = f"its content has {n} entries in the publish pool; it should have {' or '.join(map(str, wanted))}"
            yield Violation(NAME, content.task_id, said)
    for content_id in entries:
        yield Violation(NAME, "", f"the publish pool has an entry for content {content_id}, which is not there")
