"""What the end of `make cluster` finds in a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler_svc.domain.lifecycle import Status
from verification.chaos.evidence import Event, Stored, StoredContent, StoredTask
from verification.cluster.audit import Audit, audit

DONE = (Status.PENDING, Status.SUBMITTED, Status.PROCESSING, Status.COMPLETED)


def found(statuses: Sequence[Status] = DONE, contents: int = 1, told: int = 1, **changed: Any) -> Audit:
    """Of one task that was acknowledged, with this history."""
    task = StoredTask("task-1", 1, statuses[-1], "r-1", "", True, 0, 3, 1)
    previous = (Status.NONE, *statuses)
    moves = zip(previous, statuses, range(len(statuses)), strict=False)
    events = [Event(before, status, float(at), changed.get("attempt", 1), "worker", "") for before, status, at in moves]
    rows = [StoredContent(number, "task-1", 1, "", None) for number in range(contents)]
    return audit({"r-1": "task-1"}, {"task-1": told}, Stored({"task-1": task}, {"task-1": events}, rows))


def test_a_task_that_is_done_once_is_all_right() -> None:
    assert found() == Audit(acknowledged=1, completed=1, open=0, again=0, lost=0, twice=0, wrong=())


def test_a_task_that_waits_is_open_and_not_lost() -> None:
    assert found(DONE[:1], contents=0, told=0) == Audit(1, 0, 1, 0, 0, 0, ())


def test_another_attempt_is_counted() -> None:
    assert found(attempt=2).again == 1


def test_a_task_without_a_content_is_lost() -> None:
    assert found(contents=0).lost == 1


def test_a_task_that_is_not_there_is_lost() -> None:
    lost = audit({"r-1": "task-1"}, {}, Stored({}, {}))
    assert (lost.lost, lost.wrong) == (1, ("task-1 was acknowledged, and is not there",))


def test_two_contents_two_ends_or_two_notices_are_twice() -> None:
    assert [result.twice for result in (found(contents=2), found((*DONE, *DONE)), found(told=2))] == [1, 1, 1]


def test_a_task_that_failed_is_wrong() -> None:
    assert found((*DONE[:-1], Status.FAILED), contents=0).wrong == ("task-1 is failed",)
