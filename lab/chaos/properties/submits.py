"""Every acknowledged submit is there, as it was submitted; nothing is there twice, or without a submit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lab.chaos.evidence import Evidence, Submit, Unsure
from lab.chaos.violation import Violation

NAME = "submits"


def submits(evidence: Evidence) -> Iterator[Violation]:
    """By the database and by the API; an unsure submit is there once, or not at all."""
    for submit in evidence.journals.submits:
        yield from (Violation(NAME, submit.task_id, problem) for problem in _missing(submit, evidence))
    yield from _repeated(evidence)
    yield from _strange(evidence)


def _missing(submit: Submit, evidence: Evidence) -> Iterator[str]:
    stored = evidence.stored.tasks.get(submit.task_id)
    answered = evidence.answers.tasks.get(submit.task_id)
    if stored is None:
        yield "its submit was acknowledged, but the database does not have it"
    elif (stored.account_id, stored.request_id, stored.topic_sha256) != _payload(submit):
        yield "the database has another account, request_id or topic than was acknowledged"
    if answered is None:
        yield "its submit was acknowledged, but the API does not know it"
    elif (answered.account_id, answered.topic_sha256) != (submit.account_id, submit.topic_sha256):
        yield "the API shows another account or topic than was acknowledged"
    elif stored is not None and answered.status is not stored.status:
        yield f"the API says {answered.status.label}, the database {stored.status.label}"


def _repeated(evidence: Evidence) -> Iterator[Violation]:
    tasks = evidence.stored.tasks.values()
    times = Counter((task.account_id, task.request_id) for task in tasks)
    for task in tasks:
        if task.request_id and (n := times[task.account_id, task.request_id]) > 1:
            yield Violation(NAME, task.task_id, f"its request_id has {n} tasks, and should have one")


def _strange(evidence: Evidence) -> Iterator[Violation]:
    journals = evidence.journals
    payloads = {_payload(submit) for submit in journals.submits} | {_payload(unsure) for unsure in journals.unsure}
    ticked = {tick.task_id for tick in evidence.stored.ticks}
    for task in evidence.stored.tasks.values():
        if task.task_id not in ticked and (task.account_id, task.request_id, task.topic_sha256) not in payloads:
            yield Violation(NAME, task.task_id, "it is in the database, but nobody submitted it")


def _payload(submit: Submit | Unsure) -> tuple[int, str | None, str]:
    return submit.account_id, submit.request_id, submit.topic_sha256
