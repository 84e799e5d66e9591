"""Cancel, update, retry, time out and delete tasks. Layer: client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.client.errors import FailedPrecondition
from contentgen.client.methods import Methods, Replacement, plain, returns, returns_by, returns_whether_found, takes
from contentgen.client.results import Task, TaskStatus
from contentgen.client.tasks import TaskFilter, set_field, task_filter
from contentgen.submit_fields import BriefFields, LastingFields, TaskChanges, TaskFields
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb

BULK_TIMEOUT = 600.0
"""Seconds that a call over all tasks may work: it goes through them batch by batch."""


def _retried(_: task_pb2.Task) -> bool:
    return True


class TaskControlMethods(Methods):
    @returns_whether_found
    async def cancel_task(self, task_id: str, force: bool = False) -> task_pb2.Task:
        """Cancels a task. Returns False if it does not exist.

        Args:
            task_id: the task.
            force: also if a worker holds it; what it runs is then killed.

        Raises:
            InvalidStateException: it has ended, or a worker holds it and `force` is off.

        Example:
            >>> if client.cancel_task(task_id, force=True):
            ...     print("cancelled")
        """
        request = pb.CancelTaskRequest(task_id=task_id, force=force)
        return (await self._call(self._stubs.tasks.CancelTask, request)).task

    @returns(Task)
    @takes(TaskChanges, BriefFields, LastingFields, TaskFields)
    async def update_task(
        self, task_id: str, *, unschedule: bool = False, unexpire: bool = False, **changes: Unpack[TaskChanges]
    ) -> task_pb2.Task:
        """Changes a pending task, and returns its status dict. What is None stays as it is. See `submit_task`.

        A new priority or schedule gives it a new place in the order; otherwise it keeps its own.

        Args:
            task_id: the task.
            unschedule: whether it may run at once; not with a `schedule_time`.
            unexpire: whether it never expires; not with an `expire_time`.
            changes: the new values, by name: those of `TaskChanges`.

        Raises:
            ResourceNotFoundException: the task does not exist.
            InvalidStateException: it is not pending.
            InvalidArgument: nothing to change, or a bad value.

        Example:
            >>> task = client.update_task(task_id, priority=9, tone="专业", unschedule=True)
        """
        new_values = {name: value for name, value in changes.items() if value is not None}
        if unschedule and "schedule_time" in new_values:
            raise ValueError("unschedule takes the time away: give no schedule_time with it")
        if unexpire and "expire_time" in new_values:
            raise ValueError("unexpire takes the time away: give no expire_time with it")
        task = task_pb2.Task(task_id=task_id)
        for name, value in new_values.items():
            set_field(task, name, value)
        paths = [*new_values, *["schedule_time"] * unschedule, *["expire_time"] * unexpire]
        request = pb.UpdateTaskRequest(task=task, update_mask=FieldMask(paths=paths))
        return (await self._call(self._stubs.tasks.UpdateTask, request)).task

    @returns_by(_retried, Replacement(False, FailedPrecondition, "RETRIES_EXHAUSTED"))
    async def retry_task(self, task_id: str, *, reset_retry_count: bool = False) -> task_pb2.Task:
        """Puts a failed task back to pending. Returns False if its retries are used up.

        Args:
            task_id: the task; a pending one that waits for its next attempt waits no longer.
            reset_retry_count: whether its retries are counted anew, so that they are not used up.

        Raises:
            ResourceNotFoundException: the task does not exist.
            InvalidStateException: it has neither failed nor timed out.
            FailedPrecondition: another open task has its unique_key (UNIQUE_KEY_IN_USE).

        Example:
            >>> if not client.retry_task(task_id):
            ...     print("its retries are used up")
        """
        request = pb.RetryTaskRequest(task_id=task_id, reset_retry_count=reset_retry_count)
        return (await self._call(self._stubs.tasks.RetryTask, request)).task

    @plain
    async def bulk_cancel_tasks(
        self,
        account_id: int | None = None,
        status: TaskStatus | Sequence[TaskStatus] | None = None,
        *,
        force: bool = False,
        limit: int = 1_000,
        dry_run: bool = False,
        **more: Unpack[TaskFilter],
    ) -> int:
        """Cancels pending tasks, oldest first, and returns how many.

        Args:
            account_id: only of this account; None: of all.
            status: only in this state, or in one of these, of those that can be cancelled.
            force: also those that a worker holds; what it runs is then killed.
            limit: how many at most.
            dry_run: only count all that match.
            more: the conditions of `TaskFilter`, as in `iter_tasks`.

        Raises:
            InvalidArgument: a state that can't be cancelled.

        Example:
            >>> cancelled_count = client.bulk_cancel_tasks(account_id=1, labels={"order": "7"})
        """
        selection = task_filter(more, status)
        selection.account_id = account_id or 0
        request = pb.BulkCancelTasksRequest(filter=selection, force=force, limit=limit, dry_run=dry_run)
        answer = await self._call(self._stubs.tasks.BulkCancelTasks, request, waits=BULK_TIMEOUT)
        return answer.matched_count if dry_run else answer.changed_count

    @plain
    async def bulk_retry_tasks(
        self,
        account_id: int | None = None,
        status: Literal["failed", "timeout"] | None = None,
        *,
        reset_retry_count: bool = False,
        limit: int = 1_000,
        dry_run: bool = False,
        **more: Unpack[TaskFilter],
    ) -> int:
        """Retries failed and timed out tasks, oldest first, and returns how many.

        Args:
            account_id: only of this account.
            status: only in this state.
            reset_retry_count: whether the retries of each are counted anew; without it, those without a retry left
                stay.
            limit: how many at most.
            dry_run: only count all that match.
            more: the conditions of `TaskFilter`, as in `iter_tasks`.

        Example:
            >>> retried_count = client.bulk_retry_tasks(account_id=1, error_reasons=["CREATOR_TIMEOUT"])
        """
        request = pb.BulkRetryTasksRequest(
            account_id=account_id or 0,
            filter=task_filter(more, status),
            reset_retry_count=reset_retry_count,
            limit=limit,
            dry_run=dry_run,
        )
        answer = await self._call(self._stubs.tasks.BulkRetryTasks, request, waits=BULK_TIMEOUT)
        return answer.matched_count if dry_run else answer.retried_count

    @plain
    async def handle_timeout_tasks(self, account_id: int | None = None) -> int:
        """Times out now what has run for too long, and returns how many. The scheduler does so every few seconds, too.

        Example:
            >>> timeout_count = client.handle_timeout_tasks()
        """
        request = pb.HandleTimeoutsRequest(account_id=account_id or 0)
        return (await self._call(self._stubs.tasks.HandleTimeouts, request, waits=BULK_TIMEOUT)).timeout_count

    @plain
    async def cleanup_tasks(
        self,
        account_id: int | None = None,
        status: TaskStatus | Sequence[TaskStatus] | None = None,
        *,
        days: int = 7,
        limit: int = 0,
        dry_run: bool = False,
        **more: Unpack[TaskFilter],
    ) -> int:
        """Deletes ended tasks with their history, oldest first, and returns how many. Contents stay.

        Takes 10 minutes at most; what a call that was cut short has deleted stays deleted.

        Args:
            account_id: only of this account.
            status: only in this state, or in one of these, of those that are an end.
            days: tasks that ended more than so many days of 24 hours ago; 0: all that have ended.
            limit: how many at most; 0: all.
            dry_run: only count all that match.
            more: the conditions of `TaskFilter`, as in `iter_tasks`.

        Raises:
            InvalidArgument: `days` is negative, or a task in that state has not ended.

        Example:
            >>> deleted_count = client.cleanup_tasks(status="cancelled", days=0, labels={"order": "7"})
        """
        return await self._clean_up(account_id, task_filter(more, status), days, limit=limit, dry_run=dry_run)

    @plain
    async def cleanup_old_tasks(self, days: int = 7, *, account_id: int | None = None, dry_run: bool = False) -> int:
        """Deletes ended tasks: `cleanup_tasks` by the old application's name.

        Args:
            days: tasks that ended more than so many days of 24 hours ago; 0: all that have ended.
            account_id: only of this account.
            dry_run: only count them.

        Raises:
            InvalidArgument: `days` is negative.

        Example:
            >>> deleted_count = client.cleanup_old_tasks(days=30)
        """
        return await self._clean_up(account_id, None, days, limit=0, dry_run=dry_run)

    async def _clean_up(
        self, account_id: int | None, selection: pb.TaskFilter | None, days: int, *, limit: int, dry_run: bool
    ) -> int:
        request = pb.CleanupTasksRequest(
            days=days, dry_run=dry_run, account_id=account_id or 0, filter=selection, limit=limit
        )
        return (await self._call(self._stubs.tasks.CleanupTasks, request, waits=BULK_TIMEOUT)).deleted_count
