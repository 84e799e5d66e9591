"""A completed task has one content and at most one entry in the publish pool, with the body of its accepted attempt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from lab.chaos.attempts import attempts
from lab.chaos.evidence import Answers, Evidence, Run, StoredContent, StoredTask
from lab.chaos.violation import Violation
from scheduler_svc.domain.lifecycle import Status

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
        rows = of_task[task.task_id]
        origins = (origin for content in rows for origin in _origin(content, runs, evidence))
        for problem in (*_rows(task, rows), *_shown(task, rows, evidence.answers), *origins):
            yield Violation(NAME, task.task_id, problem)
    yield from _pool(evidence)


def _rows(task: StoredTask, rows: list[StoredContent]) -> Iterator[str]:
    expected = 1 if task.status is Status.COMPLETED else 0
    if len(rows) != expected:
        yield f"it is {task.status.label} and has {len(rows)} contents; it should have {expected}"
    elif rows and (rows[0].content_id, rows[0].account_id) != (task.content_id, task.account_id):
        yield f"its content is {rows[0].content_id} of account {rows[0].account_id}, which is not what the task says"


def _shown(task: StoredTask, rows: list[StoredContent], answers: Answers) -> Iterator[str]:
    body = answers.bodies.get(task.task_id)
    if rows and body is None:
        yield "the API shows no content of it"
    elif body is not None and body not in {content.body_sha256 for content in rows}:
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
        expected = {1} if task is None or task.auto_approve else {0, 1}
        if n not in expected:
            problem = (
                f"its content has {n} entries in the publish pool; it should have {' or '.join(map(str, expected))}"
            )
            yield Violation(NAME, content.task_id, problem)
    for content_id in entries:
        yield Violation(NAME, "", f"the publish pool has an entry for content {content_id}, which is not there")
