"""Whether what was acknowledged is there, once: by the database, read past all of the product's code. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from scheduler_svc.domain.lifecycle import OPEN, Status
from verification.chaos.evidence import Stored


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts of tasks, but for `wrong`."""

    acknowledged: int
    completed: int
    open: int
    """They wait or run still."""
    again: int
    """They had more than one attempt: a worker was lost, or let go of them."""
    lost: int
    twice: int
    wrong: tuple[str, ...]
    """A line for each that is lost, or was done twice, or ended otherwise."""


def audit(acknowledged: Mapping[str, str], told: Mapping[str, int], stored: Stored) -> Audit:
    """Compares.

    Args:
        acknowledged: task ids by request id.
        told: how often a watcher was told of a task's completion.
        stored: what the database holds.
    """
    contents = Counter(content.task_id for content in stored.contents)
    requests = Counter(task.request_id for task in stored.tasks.values())
    lost, twice, others = [], [], []
    completed = still_open = again = 0
    for request_id, task_id in acknowledged.items():
        task = stored.tasks.get(task_id)
        if task is None:
            lost.append(f"{task_id} was acknowledged, and is not there")
            continue
        events = stored.events.get(task_id, ())
        ends = sum(event.status is Status.COMPLETED for event in events)
        again += any(event.attempt > 1 for event in events)
        if ends > 1 or contents[task_id] > 1 or told.get(task_id, 0) > 1 or requests[request_id] > 1:
            twice.append(f"{task_id} completed {ends} times, has {contents[task_id]} contents")
        if task.status is Status.COMPLETED:
            completed += 1
            if not contents[task_id]:
                lost.append(f"{task_id} is completed, and has no content")
        elif task.status in OPEN:
            still_open += 1
        else:
            others.append(f"{task_id} is {task.status.label}")
    return Audit(len(acknowledged), completed, still_open, again, len(lost), len(twice), (*lost, *twice, *others))
