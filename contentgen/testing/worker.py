"""A worker without a CLI, which holds each task until a test says what becomes of it. Layer: testing.

It speaks the lease protocol from a thread of its own; what a test tells it is committed once the call returns.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc

from contentgen.client import ContentGenerationClient, Task
from contentgen.client.documents import document, duration
from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub

__tracebackhide__ = True  # pytest shows the test's line and the message, and none of ours
P = ParamSpec("P")
T = TypeVar("T")

ENDS_LEASE = frozenset({"completed", "failed", "deferred", "released"})
_COMMITTED = (pb.UPDATE_OUTCOME_COMMITTED, pb.UPDATE_OUTCOME_ALREADY_COMMITTED)
_SLOTS = 1_000
_FOLDER = uuid.uuid4().hex
_SESSIONS = itertools.count(1)
"""The workers of a process, one after the other, are one to the scheduler."""


class TaskNotHeld(AssertionError):
    """The worker does not hold a task; the message says what is known of it, and which tasks it holds."""


class LeaseMessages:
    """What a worker holds on one stream of WorkerService.Lease, and the messages that say so, which it numbers."""

    def __init__(self, hello: pb.Hello) -> None:
        self.hello = hello
        self.held: dict[str, pb.AssignedLease] = {}
        self._heartbeats = self._reports = self._last_assignment = 0

    def hold(self, assignment: pb.Assignment) -> None:
        """Holds the leases of an assignment, and acknowledges it with the next heartbeat."""
        self._last_assignment = assignment.number
        self.held |= {lease.lease_id: lease for lease in assignment.leases}

    def next_heartbeat(
        self, free_slots: int, stage: pb.LeaseStage.ValueType = pb.LEASE_STAGE_ACCEPTED, **fields: Any
    ) -> pb.LeaseRequest:
        """Returns a heartbeat with all held leases."""
        self._heartbeats += 1
        heartbeat = pb.Heartbeat(
            number=self._heartbeats,
            free_slots=free_slots,
            held_leases=[
                pb.HeldLease(lease_id=k, attempt=lease.attempt, stage=stage) for k, lease in self.held.items()
            ],
            last_assignment=self._last_assignment,
            **fields,
        )
        return pb.LeaseRequest(heartbeat=heartbeat)

    def next_report(self, *updates: pb.LeaseUpdate) -> pb.LeaseRequest:
        self._reports += 1
        return pb.LeaseRequest(report=pb.Report(number=self._reports, updates=updates))


class HoldingWorker:
    """A worker that takes every task at once and runs nothing. Any thread may call it.

    Attributes:
        patience: seconds that it waits for a task that is on its way.
        strict: whether a test that passes may not end while tasks are held.
    """

    def __init__(self, target: str) -> None:
        self.patience, self.strict, self._automatic = 10.0, True, False
        self._client, self._channel = ContentGenerationClient(target), grpc.insecure_channel(target)
        hello = pb.Hello(worker_id="contentgen_worker", folder_id=_FOLDER, process_id=uuid.uuid4().hex, slots=_SLOTS)
        hello.session_number = next(_SESSIONS)
        self._messages = LeaseMessages(hello)
        self._outgoing: queue.SimpleQueue[pb.LeaseRequest | None] = queue.SimpleQueue()
        self._interval: float | None = None
        self._changed = threading.Condition()
        self._held: dict[str, pb.AssignedLease] = {}  # by task: what is `processing`, until the test has its say
        self._new: list[str] = []  # tasks that `next_task` has not returned
        self._ended: dict[str, str] = {}  # by task: what was done with its last attempt
        self._sent: dict[int, Sequence[pb.LeaseUpdate]] = {}  # by report
        self._outcomes: dict[int, int] = {}  # of the last update, by report
        self._over = ""  # why the stream is over
        self._thread = threading.Thread(target=self._read_all, name="contentgen_worker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._client.close()
        self._thread.join()

    @property
    def automatic(self) -> bool:
        """Whether tasks complete by themselves; once it is set, those too that are held."""
        return self._automatic

    @automatic.setter
    def automatic(self, automatic: bool) -> None:
        with self._changed:
            self._automatic = automatic
            for lease in [*self._held.values()] if automatic else ():
                self._complete(lease)

    @property
    def held(self) -> list[Task]:
        """The tasks that it holds, oldest first, as they were when it got them."""
        with self._changed:
            return [document(Task, lease.task) for lease in self._held.values()]

    def next_task(self) -> Task:
        """Returns the next task that it gets; one that is tried again comes again.

        Raises:
            TaskNotHeld: none came within `patience`.
        """
        with self._changed:
            self._wait(lambda: not self._held.keys().isdisjoint(self._new))
            while self._new:
                if lease := self._held.get(self._new.pop(0)):
                    return document(Task, lease.task)
            raise TaskNotHeld(f"no task came within {self.patience:g} s; {self._holdings()}")

    def complete(self, /, task_id: str, *, title: str = "", body: str = "", **result: Any) -> None:
        """Completes a task that is held, or on its way.

        Args:
            task_id: the task.
            title: of the content; by default the topic.
            body: of the content; by default a line with the topic.
            result: other fields of a result by name: `html_body`, `quality_score`, `usage`, `model`.

        Raises:
            TaskNotHeld: it did not come within `patience`, has ended, or was cancelled meanwhile.
        """
        self._end(task_id, completed=_completed(self._lease(task_id), title=title, body=body, **result))

    def fail(self, task_id: str, *, message: str = "it failed", reason: str = "CREATOR_ERROR") -> None:
        """Fails the attempt; the task is tried again as its submit says. Raises as `complete` does."""
        self._end(task_id, failed=pb.Failed(error=task_pb2.TaskError(reason=reason, message=message)))

    def defer(self, task_id: str, *, seconds: float = 60.0, message: str = "") -> None:
        """Puts the task off for so many seconds, 1 at least; that uses up no retry. Raises as `complete` does."""
        self._end(task_id, deferred=pb.Deferred(retry_after=duration(seconds), message=message))

    def progress(self, task_id: str, *, percent: int, step: str = "", message: str = "") -> None:
        """Reports how far the task is, and goes on holding it. Raises as `complete` does."""
        progress = task_pb2.TaskProgress(percent=percent, step=step, message=message)
        self._report(self._lease(task_id), progress=progress)

    def complaint(self) -> str:
        """Returns what is to be said of a test that ends now; empty if it holds nothing, or is not `strict`."""
        with self._changed:
            advice = "complete, fail, defer or cancel it, or allow this by contentgen_worker.strict = False"
            return f"the test has ended, and {self._holdings()}: {advice}" if self.strict and self._held else ""

    # What becomes of a task: a report, and what the scheduler says of it.

    def _lease(self, task_id: str) -> pb.AssignedLease:
        """Returns the lease of a task once it is held. Raises TaskNotHeld."""
        task = None if task_id in self._held else self._client.get_task_status(task_id)
        with self._changed:
            if task and not task["completed_at"]:
                self._wait(lambda: task_id in self._held)
            if lease := self._held.get(task_id):
                return lease
        raise self._not_held(task_id)

    def _end(self, task_id: str, **update: Any) -> None:
        lease = self._lease(task_id)
        with self._changed:
            self._held.pop(task_id, None)
            [self._ended[task_id]] = update
        self._report(lease, **update)

    def _report(self, lease: pb.AssignedLease, **update: Any) -> None:
        """Returns once an update is committed."""
        with self._changed:
            number = self._send(lease, update)
            self._wait(lambda: number in self._outcomes)
        if self._outcomes.get(number) not in _COMMITTED:
            raise self._not_held(lease.task.task_id)

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Returns once it holds, or `patience` is over. Raises ConnectionError if the stream is over."""
        self._changed.wait_for(lambda: condition() or self._over, self.patience)
        if self._over and not condition():
            raise ConnectionError(f"contentgen_worker has lost the scheduler: {self._over}")

    def _holdings(self) -> str:
        tasks = [f"{task_id} ({lease.task.topic!r})" for task_id, lease in self._held.items()]
        return f"contentgen_worker holds {', '.join(tasks) or 'no task'}"

    def _not_held(self, task_id: str) -> TaskNotHeld:
        task, ended = self._client.get_task_status(task_id), self._ended.get(task_id)
        if task is None:
            return TaskNotHeld(f"the scheduler knows no task {task_id!r}; {self._holdings()}")
        reason = f" ({task['pending_reason']})" if task["pending_reason"] else ""
        by_us = f", and contentgen_worker has {ended} its attempt {task['attempt']}" if ended else ""
        advice = ": the client's retry_task ends its wait" if task["pending_reason"] == "backoff" else ""
        return TaskNotHeld(f"{task_id} is not held: it is {task['status']}{reason}{by_us}{advice}; {self._holdings()}")

    def _send(self, lease: pb.AssignedLease, *updates: dict[str, Any]) -> int:
        """Returns the number of the report."""
        key = {"lease_id": lease.lease_id, "attempt": lease.attempt}
        request = self._messages.next_report(*(pb.LeaseUpdate(**{**key, **update}) for update in updates))
        self._sent[request.report.number] = request.report.updates
        self._outgoing.put(request)
        return request.report.number

    # The stream: what is sent, in a thread of gRPC's, and what is read, in ours. The lock keeps numbers in their order.

    def _requests(self) -> Iterator[pb.LeaseRequest]:
        """Yields the hello and what is put into the queue, with a heartbeat whenever one is due."""
        request: pb.LeaseRequest | None = pb.LeaseRequest(hello=self._messages.hello)
        while request:
            yield request
            try:
                request = self._outgoing.get(timeout=self._interval)
            except queue.Empty:
                self._send_heartbeat()
                request = self._outgoing.get()

    def _send_heartbeat(self, **fields: Any) -> None:
        with self._changed:
            self._outgoing.put(self._messages.next_heartbeat(_SLOTS - len(self._messages.held), **fields))

    def _read_all(self) -> None:
        over = "it has ended the stream"
        try:
            for response in WorkerServiceStub(self._channel).Lease(self._requests()):
                with self._changed:
                    self._read(response)
                    self._changed.notify_all()
        except (grpc.RpcError, ValueError) as error:  # a channel that is closed already raises the latter
            over = str(error)
        self._outgoing.put(None)
        with self._changed:
            self._over = over
            self._changed.notify_all()

    def _read(self, response: pb.LeaseResponse) -> None:
        match response.WhichOneof("message"):
            case "welcome":
                self._interval = response.welcome.heartbeat_interval.ToTimedelta().total_seconds() / 2
                self._send_heartbeat()
            case "assignment":
                self._messages.hold(response.assignment)
                for lease in response.assignment.leases:
                    self._send(lease, {"accepted": pb.Accepted()}, {"processing": pb.Processing()})
                self._send_heartbeat()
            case "acknowledgement":
                answer = response.acknowledgement
                for update, result in zip(self._sent.pop(answer.report_number, ()), answer.results, strict=False):
                    self._settle(update, result.outcome)
                    self._outcomes[answer.report_number] = result.outcome
                for lease_id in answer.not_renewed_leases:
                    self._give_back(lease_id)
            case "cancel":
                self._give_back(response.cancel.lease_id)
            case "poll_now":
                self._send_heartbeat(last_poll_id=response.poll_now.poll_id)

    def _settle(self, update: pb.LeaseUpdate, outcome: int) -> None:
        """Holds a task once it is `processing`, and no more once it has ended."""
        kind, lease = update.WhichOneof("update"), self._messages.held.get(update.lease_id)
        if lease is None:
            return
        if kind in ENDS_LEASE or outcome not in _COMMITTED:
            del self._messages.held[update.lease_id]
            self._held.pop(lease.task.task_id, None)
            if not self._messages.held:
                self._send_heartbeat()
        elif kind == "processing" and self._automatic:
            self._complete(lease)
        elif kind == "processing":
            self._held[lease.task.task_id] = lease
            self._new.append(lease.task.task_id)

    def _complete(self, lease: pb.AssignedLease) -> None:
        self._held.pop(lease.task.task_id, None)
        self._ended[lease.task.task_id] = "completed"
        self._send(lease, {"completed": _completed(lease)})

    def _give_back(self, lease_id: str) -> None:
        """Ends a lease that the scheduler has revoked, since its task was cancelled or has timed out."""
        if lease := self._messages.held.get(lease_id):
            self._held.pop(lease.task.task_id, None)
            self._send(lease, {"released": pb.Released(reason=pb.RELEASE_REASON_EXPIRED, started=True)})


def _completed(lease: pb.AssignedLease, *, title: str = "", body: str = "", **result: Any) -> pb.Completed:
    topic = lease.task.topic
    return pb.Completed(result=pb.Result(title=title or topic, body=body or f"# {topic}\n", **result))


def _in_thread(
    method: Callable[Concatenate[HoldingWorker, P], T],
) -> Callable[Concatenate[AsyncHoldingWorker, P], Coroutine[Any, Any, T]]:
    """Returns a method that leaves the event loop to others while it waits."""

    @wraps(method)
    async def call(self: AsyncHoldingWorker, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self.blocking, *args, **kwargs)

    return call


def _of_blocking(name: str) -> Any:
    """Returns an attribute that is the worker's."""
    return property(lambda self: getattr(self.blocking, name), lambda self, value: setattr(self.blocking, name, value))


class AsyncHoldingWorker:
    """A `HoldingWorker` for coroutines: they await its methods. `blocking` is the worker itself."""

    patience: float = _of_blocking("patience")
    strict: bool = _of_blocking("strict")
    automatic: bool = _of_blocking("automatic")
    held: list[Task] = _of_blocking("held")
    next_task = _in_thread(HoldingWorker.next_task)
    complete = _in_thread(HoldingWorker.complete)
    fail = _in_thread(HoldingWorker.fail)
    defer = _in_thread(HoldingWorker.defer)
    progress = _in_thread(HoldingWorker.progress)

    def __init__(self, blocking: HoldingWorker) -> None:
        self.blocking = blocking
