"""Change what becomes of tasks: cancel, retry, time out, clean up. Layer: client."""

from __future__ import annotations

import grpc

from contentgen.client.connection import Connected
from contentgen.client.errors import ResourceNotFoundException, refusal
from contentgen.v1 import task_service_pb2 as pb

BULK_LIMIT = 600.0
"""Seconds that a call over all tasks may work: it goes through them batch by batch."""


class SteeringMethods(Connected):
    def cancel_task(self, task_id: str, force: bool = False) -> bool:
        """True once it is cancelled, False where there is no such task.

        Args:
            task_id: the task.
            force: also where a worker holds it; what it runs is then killed.

        Raises:
            InvalidStateException: it has ended, or a worker holds it and `force` is off.

        Example:
            >>> if client.cancel_task(task_id, force=True):
            ...     print("cancelled")
        """
        request = pb.CancelTaskRequest(task_id=task_id, force=force)
        try:
            self._connection.call(self._connection.tasks.CancelTask, request)
        except ResourceNotFoundException:
            return False
        return True

    def retry_task(self, task_id: str) -> bool:
        """True once it is pending again, False where its retries are used up.

        Raises:
            ResourceNotFoundException: no such task.
            InvalidStateException: it has neither failed nor timed out.

        Example:
            >>> if not client.retry_task(task_id):
            ...     print("its retries are used up")
        """
        try:
            self._connection.call(self._connection.tasks.RetryTask, pb.RetryTaskRequest(task_id=task_id))
        except grpc.RpcError as error:
            if refusal(error).reason == "RETRIES_EXHAUSTED":
                return False
            raise
        return True

    def handle_timeout_tasks(self) -> int:
        """How many tasks this call has timed out. The scheduler does so by itself every few seconds, too.

        Example:
            >>> timeout_count = client.handle_timeout_tasks()
        """
        request = pb.HandleTimeoutsRequest()
        return self._connection.call(self._connection.tasks.HandleTimeouts, request, waits=BULK_LIMIT).timeout_count

    def cleanup_old_tasks(self, days: int = 7, *, dry_run: bool = False) -> int:
        """How many tasks that ended more than so many days ago are deleted, with their history; contents stay.

        Takes as long as there is something to delete, 10 minutes at most; what a call that was cut short has deleted
        stays deleted.

        Args:
            days: of 24 hours; 0: all that have ended.
            dry_run: only count them.

        Raises:
            grpc.RpcError: INVALID_ARGUMENT `days` is negative.

        Example:
            >>> deleted_count = client.cleanup_old_tasks(days=30)
        """
        request = pb.CleanupTasksRequest(days=days, dry_run=dry_run)
        return self._connection.call(self._connection.tasks.CleanupTasks, request, waits=BULK_LIMIT).deleted_count
