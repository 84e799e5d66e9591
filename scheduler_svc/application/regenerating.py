"""Contents that are written anew, with a reviewer's feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler_svc.application.tasks import query
from scheduler_svc.domain.brief import MAX_LENGTHS, MAX_PROMPT_BYTES, Brief
from scheduler_svc.domain.errors import FieldViolation, InvalidArgument
from scheduler_svc.domain.task import NewTask

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def new_task(tx: Tx, content_id: int, feedback: str) -> NewTask:
    """Returns the submit of a task that writes a content anew: as its task, with the feedback, and for a review.

    Raises NotFound for the content and for its task, and InvalidArgument if the requirements would be too long.
    """
    content = query.get_content(tx, content_id)
    task = query.get_task(tx, content.task_key)
    return NewTask(
        account_id=task.account_id,
        brief=_with_feedback(task.brief, feedback),
        priority=task.priority,
        auto_approve=False,
        max_retries=task.max_retries,
        auto_retry=task.auto_retry,
        timeout=task.timeout,
        labels=task.labels,
        backoff=task.backoff,
        regenerates_content_id=content_id,
    )


def _with_feedback(brief: Brief, feedback: str) -> Brief:
    made = brief._replace(requirements="\n\n".join(text for text in (brief.requirements, feedback) if text))
    length, most = len(made.requirements), MAX_LENGTHS["requirements"]
    if length > most:
        raise _too_long(f"{most:,} characters with the task's requirements, would have {length:,}")
    if made.prompt_bytes > MAX_PROMPT_BYTES:
        size = f"{MAX_PROMPT_BYTES:,} bytes with the task's topic and requirements, would have {made.prompt_bytes:,}"
        raise _too_long(size)
    return made


def _too_long(what: str) -> InvalidArgument:
    return InvalidArgument([FieldViolation("feedback", f"must have at most {what}")])
