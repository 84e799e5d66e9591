"""Converts an UpdateTaskRequest to a TaskEdit: the bounds and defaults of a submit. Part of `api`."""

from __future__ import annotations

from typing import Literal

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.api.messages.validation import Violations
from scheduler_svc.api.tasks.submits import new_task
from scheduler_svc.domain.brief import TEXTS
from scheduler_svc.domain.task import TaskEdit

_MESSAGES: tuple[Literal["timeout", "schedule_time", "expire_time"], ...] = ("timeout", "schedule_time", "expire_time")
"""Fields that are unset or given; the others always have a value."""
EDITABLE = (*TEXTS, "priority", "auto_approve", "max_retries", "auto_retry", "labels", *_MESSAGES)


def task_edit(request: pb.UpdateTaskRequest, bad: Violations) -> TaskEdit:
    """The values of the fields that the mask names, if `bad` stays empty."""
    paths = bad.mask("update_mask", request.update_mask, EDITABLE)
    outer, bad.path = bad.path, "task."
    new = new_task(_as_submit(request, paths), bad)
    bad.path = outer
    texts = {name: getattr(new.brief, name) for name in TEXTS if name in paths}
    return TaskEdit(texts, {name: getattr(new, name) for name in paths.difference(TEXTS)})


def _as_submit(request: pb.UpdateTaskRequest, paths: frozenset[str]) -> pb.SubmitTaskRequest:
    """A submit with the named fields, which is valid if they are."""
    task, submit = request.task, pb.SubmitTaskRequest(account_id=1, topic="a topic")
    for name in paths.difference(_MESSAGES, ("labels",)):
        setattr(submit, name, getattr(task, name))
    if "labels" in paths:
        submit.labels.update(task.labels)
    for message in _MESSAGES:
        if message in paths and task.HasField(message):
            getattr(submit, message).CopyFrom(getattr(task, message))
    return submit
