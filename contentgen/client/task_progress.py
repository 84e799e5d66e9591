"""Wait for tasks, watch them, poll their workers. Layer: client."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial
from operator import attrgetter
from typing import cast

from contentgen.client.documents import TASK_STATUS, document, duration, label
from contentgen.client.errors import TaskCancelledException, WaitTimeoutException, creator_exception
from contentgen.client.methods import Methods, Replacement, returns, returns_by, watches
from contentgen.client.results import AttemptOutput, PollStats, Task, TaskChange, TaskStatus
from contentgen.client.watch import Backoff, ResumingStream, all_ended
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb

MAX_WAIT = 60.0
"""Seconds of one WaitTask: proxies cut calls that are silent for long, so a long wait is several."""
POLL_TIMEOUT = 10.0
"""Seconds that the scheduler gives workers to answer a poll."""
PATIENCE = 300.0
"""Seconds that a watch goes on without a scheduler."""
_FAILED = (task_pb2.TASK_STATUS_FAILED, task_pb2.TASK_STATUS_TIMEOUT)


def _status(answer: pb.PollTaskResponse) -> TaskStatus | None:
    return cast("TaskStatus", label(TASK_STATUS, answer.status))


class TaskProgressMethods(Methods):
    @returns(Task)
    async def wait(
        self,
        task_id: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the reference's name
        check: bool = False,
    ) -> task_pb2.Task:
        """Returns the status dict once the task has ended, or as it stands after `timeout` seconds.

        A task has ended when `completed_at` is set: it is completed, cancelled, or failed or timed out with no retry to
        come.

        Args:
            task_id: the task.
            timeout: seconds to wait; None: any time.
            check: whether to raise unless the task is completed.

        Raises:
            ResourceNotFoundException: the task does not exist.
            CreatorException: with `check`, the task has failed.
            TaskTimeoutException: with `check`, the task has timed out; a CreatorException too.
            TaskCancelledException: with `check`, the task was cancelled.
            WaitTimeoutException: with `check`, the task has not ended within `timeout`.

        Example:
            >>> task = client.wait(task_id, timeout=60)
            >>> print(task["status"], task["content_id"])
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            waits = MAX_WAIT if end is None else min(max(end - time.monotonic(), 0.0), MAX_WAIT)
            request = pb.WaitTaskRequest(task_id=task_id, timeout=duration(waits))
            task = (await self._call(self._stubs.tasks.WaitTask, request, waits=waits)).task
            if task.HasField("end_time") or (end is not None and time.monotonic() >= end):
                break
        if check:
            _check_completed(task)
        return task

    @watches(TaskChange)
    def watch(
        self,
        task_ids: Collection[str] | None = None,
        account_id: int | None = None,
        resume_token: str = "",
        *,
        skip_present: bool = False,
        until_ended: bool = False,
        patience: float | None = PATIENCE,
        first_patience: float | None = None,
    ) -> ResumingStream[pb.TaskChange]:
        """Iterates over the moves of these tasks, of an account's, or of all accounts', as they are committed.

        It begins with the present state of the tasks (of accounts': those that have not ended), with the next move
        (`skip_present`), or right after the event whose `resume_token` is given. It reconnects by itself, to any
        scheduler, and goes on after the last event: none is missed or doubled. Only what begins and ends during an
        interruption before the very first event is not seen: there is no token yet.

        Entered as a context manager it returns once a scheduler has taken the watch: every later move is seen.

        It goes on until it is closed (`close()`, the end of its `with`, the end of the client's), so iterate in a
        thread or task of its own, or with `until_ended`.

        Args:
            task_ids: up to 1,000 tasks.
            account_id: instead of them, an account. None, without `task_ids`: all accounts that the token may access.
            resume_token: of the last event seen, of a watch of the same tasks. Empty: from the present state.
            skip_present: whether the present states are left out: what moves during an interruption before the very
                first event is not seen then.
            until_ended: whether it ends once all of `task_ids` have ended: completed, cancelled, or failed or timed out
                with no retry to come. It needs their present state, so it excludes `account_id`, `resume_token` and
                `skip_present`.
            patience: seconds without a scheduler before Unavailable is raised; None: any time.
            first_patience: the same before the first event, `patience` at most; None: the client's `timeout`.

        Raises:
            ValueError: both `task_ids` and `account_id`, no id in `task_ids`, `until_ended` beside what it excludes or
                without `task_ids`, or the client is closed.

        Entering it or iterating raises:
            ResourceNotFoundException: a task or the account does not exist.
            ResumeTokenExpiredException: the token is older than the events that are kept: start without one.
            InvalidArgument: the token is none, or of other tasks.
            Unavailable: no scheduler for longer than `patience`.

        Example:
            >>> with client.watch([task_id], until_ended=True) as events:
            ...     for event in events:
            ...         print(event["event_time"], event["previous_status"], "→", event["task"]["status"])
        """
        _check_selection(task_ids, account_id, until_ended, resume_token or skip_present)
        ids = list(task_ids or ())
        request = pb.WatchTasksRequest(
            task_ids=ids, account_id=account_id or 0, resume_token=resume_token, skip_present=skip_present
        )
        backoff = Backoff(patience, at_first=self._transport.timeout if first_patience is None else first_patience)
        stream: ResumingStream[pb.TaskChange] = ResumingStream(
            self._transport,
            attrgetter("tasks.WatchTasks"),
            request,
            backoff,
            item_of=attrgetter("event"),
            is_last=partial(all_ended, set(ids)) if until_ended else lambda _: False,
        )
        return self._transport.keep(stream)

    @watches(AttemptOutput)
    def tail_attempt(
        self,
        task_id: str,
        resume_token: str = "",
        *,
        patience: float | None = PATIENCE,
        first_patience: float | None = None,
    ) -> ResumingStream[pb.TailAttemptResponse]:
        """Iterates over what the CLI prints in the attempt that runs now, within a second, until it has ended.

        The first item has no output, and comes at once; then comes the end of what was printed before. More than some
        8 kB a second of stdout or stderr is left out, and counted. It reconnects by itself, to any scheduler, and goes
        on after the last item. Of attempts that have ended, `iter_attempt_logs` has the output.

        Args:
            task_id: the task.
            resume_token: of the last item seen of this attempt. Empty: from what the worker still has of it.
            patience: seconds without a scheduler before Unavailable is raised; None: any time.
            first_patience: the same before the first item, `patience` at most; None: the client's `timeout`.

        Raises:
            ValueError: the client is closed.

        Entering it or iterating raises:
            ResourceNotFoundException: the task does not exist.
            InvalidStateException: no worker holds the task.
            InvalidArgument: the token is none, or of another task.
            Unavailable: no scheduler for longer than `patience`.

        Example:
            >>> with client.tail_attempt(task_id) as outputs:
            ...     for output in outputs:
            ...         print(output["output"], end="")
        """
        request = pb.TailAttemptRequest(task_id=task_id, resume_token=resume_token)
        backoff = Backoff(patience, at_first=self._transport.timeout if first_patience is None else first_patience)
        stream: ResumingStream[pb.TailAttemptResponse] = ResumingStream(
            self._transport, attrgetter("tasks.TailAttempt"), request, backoff, item_of=lambda output: output, ends=True
        )
        return self._transport.keep(stream)

    @returns(PollStats)
    async def poll_running_tasks(self, account_id: int | None = None) -> pb.PollRunningTasksResponse:
        """Asks all workers now how their tasks stand, instead of at their next interval; takes 10 s at most.

        `total` tasks were running at the call; since then `completed`, `failed` and `timeout` of them ended an attempt,
        retried or not, `still_running` run on, and `error` have a worker that did not answer.

        Example:
            >>> stats = client.poll_running_tasks()
            >>> print(stats["still_running"], "of", stats["total"], "run on")
        """
        request = pb.PollRunningTasksRequest(account_id=account_id or 0)
        return await self._call(self._stubs.tasks.PollRunningTasks, request, waits=POLL_TIMEOUT)

    @returns_by(_status, Replacement(None))
    async def poll_single_task(self, task_id: str) -> pb.PollTaskResponse:
        """Asks a task's worker now, and returns the task's status, or None if it does not exist; takes 10 s at most.

        If the worker does not answer, the status is the one that is known.

        Example:
            >>> status = client.poll_single_task(task_id)
        """
        request = pb.PollTaskRequest(task_id=task_id)
        return await self._call(self._stubs.tasks.PollTask, request, waits=POLL_TIMEOUT)


def _check_completed(task: task_pb2.Task) -> None:
    """Raises what `wait` says."""
    if not task.HasField("end_time"):
        raise WaitTimeoutException(f"{task.task_id} has not ended", document(Task, task))
    if task.status in _FAILED:
        raise creator_exception(task.error)
    if task.status == task_pb2.TASK_STATUS_CANCELLED:
        raise TaskCancelledException(f"{task.task_id} was cancelled", document(Task, task))


def _check_selection(
    task_ids: Collection[str] | None, account_id: int | None, until_ended: bool, without_present: object
) -> None:
    if isinstance(task_ids, str):
        raise ValueError("task_ids should be a list of ids, not one text")
    if task_ids is not None and not task_ids:
        raise ValueError("task_ids should have at least one id; leave it out to watch an account, or all")
    if task_ids and account_id:
        raise ValueError("give task_ids or account_id, not both")
    if until_ended and (not task_ids or without_present):
        raise ValueError("until_ended goes with task_ids, without resume_token and skip_present: leave one out")
