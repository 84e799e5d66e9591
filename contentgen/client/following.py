"""Follow tasks while they run: wait, watch, poll. Layer: client."""

from __future__ import annotations

import time
from collections.abc import Collection

from contentgen.client import documents
from contentgen.client.changes import STREAM_LIMIT, Changes, EventStream
from contentgen.client.connection import Connected
from contentgen.client.documents import Document
from contentgen.client.errors import ResourceNotFoundException, creator_exception
from contentgen.client.fields import duration
from contentgen.client.outage import Outage
from contentgen.client.watch import Watch
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb

MAX_WAIT = 60.0
"""Seconds of one WaitTask: proxies cut calls that are silent for long, so a long wait is several."""
POLL_LIMIT = 10.0
"""Seconds that the scheduler gives workers to answer a poll."""
PATIENCE = 300.0
"""Seconds that a watch goes on without a scheduler."""
_FAILED = (task_pb2.TASK_STATUS_FAILED, task_pb2.TASK_STATUS_TIMEOUT)


class FollowingMethods(Connected):
    def wait(self, task_id: str, timeout: float | None = None, check: bool = False) -> Document:
        """The status dict once the task has ended, or as it stands after `timeout` seconds; None: however long.

        Ended is completed, cancelled, or failed or timed out with no retry to come; then `completed_at` is set.

        Raises:
            ResourceNotFoundException: no such task.
            CreatorException: with `check`, where the task has ended as failed or timed out.

        Example:
            >>> task = client.wait(task_id, timeout=60, check=True)
            >>> print(task["content_id"])
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            waits = MAX_WAIT if end is None else min(max(end - time.monotonic(), 0.0), MAX_WAIT)
            request = pb.WaitTaskRequest(task_id=task_id, timeout=duration(waits))
            task = self._connection.call(self._connection.tasks.WaitTask, request, waits=waits).task
            if task.HasField("end_time") or (end is not None and time.monotonic() >= end):
                break
        if check and task.HasField("end_time") and task.status in _FAILED:
            raise creator_exception(task.error)
        return documents.task(task)

    def watch(
        self,
        task_ids: Collection[str] | None = None,
        account_id: int | None = None,
        resume_token: str = "",
        *,
        until_ended: bool = False,
        patience: float | None = PATIENCE,
    ) -> Watch:
        """Every move of these tasks, or of all tasks of an account, as it is committed: an iterator of events.

        It begins with the present state of the tasks (of an account's: those that have not ended), or right after the
        event whose `resume_token` is given. Interruptions are mended behind the scenes: it connects again, to whichever
        scheduler there is, and goes on after the last event, none missed or doubled. Only what begins and ends within
        an interruption before the very first event isn't seen: there is no token yet.

        Entering it with `with` returns once a scheduler has taken the watch: what moves after that is seen.

        It goes on until it is closed (`close()`, the end of its `with`, the end of the client's), so iterate in a
        thread of its own, or with `until_ended`.

        An event is a dict: `task` (a status dict, as of the event), `previous_status` (None for a present state and for
        a task's first event), `event_time` (ISO 8601 with zone), `will_retry` (whether this failure is followed by
        another attempt without a call), `resume_token`.

        Args:
            task_ids: up to 1,000 tasks.
            account_id: instead of them, an account.
            resume_token: of the last event seen, of a watch of the same tasks. Empty: from the present state.
            until_ended: whether it ends once all of `task_ids` have ended: completed, cancelled, or failed or timed out
                with no retry to come. Needs their present state, so it goes with `task_ids` and no `resume_token`.
            patience: seconds that no scheduler may be there before that is raised; None: any time. Before anything has
                come at all, the client's `timeout`.

        Raises:
            ValueError: not exactly one of `task_ids` and `account_id`, `until_ended` beside what it can't go with, or
                the client is closed.

        Entering it or iterating raises:
            ResourceNotFoundException: no such task or account.
            ResumeTokenExpiredException: the token is older than the events that are kept: start without one.
            grpc.RpcError: INVALID_ARGUMENT the token is none, or of other tasks; UNAVAILABLE longer than `patience`.
            ConnectionError: for as long, streams ended without a reason, as a proxy may end them.

        Example:
            >>> with client.watch([task_id], until_ended=True) as events:
            ...     for event in events:
            ...         print(event["event_time"], event["previous_status"], "→", event["task"]["status"])
        """
        _check(task_ids, account_id, resume_token, until_ended)
        connection, ids = self._connection, list(task_ids or ())

        def opened(token: str) -> EventStream:
            request = pb.WatchTasksRequest(task_ids=ids, account_id=account_id or 0, resume_token=token)
            return connection.tasks.WatchTasks(request, timeout=STREAM_LIMIT, metadata=connection.call.metadata)

        changes = Changes(opened, Outage(patience, at_first=connection.call.timeout), resume_token)
        return connection.keep(Watch(changes, until_ended=ids if until_ended else None))

    def poll_running_tasks(self) -> dict[str, int]:
        """Asks all workers now how their tasks stand, rather than at their next interval; 10 s at most.

        `total` tasks were running at the call; since then `completed`, `failed` and `timeout` of them ended an attempt,
        retried or not, `still_running` run on, and `error` have a worker that did not answer.

        Example:
            >>> stats = client.poll_running_tasks()
            >>> print(stats["still_running"], "of", stats["total"], "run on")
        """
        request = pb.PollRunningTasksRequest()
        answer = self._connection.call(self._connection.tasks.PollRunningTasks, request, waits=POLL_LIMIT)
        return {
            "total": answer.total,
            "completed": answer.completed,
            "failed": answer.failed,
            "timeout": answer.timeout,
            "still_running": answer.still_running,
            "error": answer.error,
        }

    def poll_single_task(self, task_id: str) -> str | None:
        """The status of a task, asked of its worker now, 10 s at most; None where there is no such task.

        A silent worker is no error: the status is then the one that is known.

        Example:
            >>> status = client.poll_single_task(task_id)
        """
        request = pb.PollTaskRequest(task_id=task_id)
        try:
            answer = self._connection.call(self._connection.tasks.PollTask, request, waits=POLL_LIMIT)
        except ResourceNotFoundException:
            return None
        return documents.label(documents.TASK_STATUS, answer.status)


def _check(task_ids: Collection[str] | None, account_id: int | None, resume_token: str, until_ended: bool) -> None:
    if isinstance(task_ids, str):
        raise ValueError("task_ids should be a list of ids, not one text")
    if bool(task_ids) == bool(account_id):
        raise ValueError("give either task_ids, at least one, or account_id")
    if until_ended and (account_id or resume_token):
        raise ValueError("until_ended goes with task_ids and without a resume_token: leave one of them out")
