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

from contentgen.client import ContentGenerationClient, RequestError, Task
from contentgen.client.connection import open_channel
from contentgen.client.documents import document, duration
from contentgen.client.errors import request_error
from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub

__tracebackhide__ = True  # pytest shows the test's line and the message, and none of ours
P = ParamSpec("P")
T = TypeVar("T")
Outgoing = queue.SimpleQueue[pb.LeaseRequest | None]

ENDS_LEASE = frozenset({"completed", "failed", "deferred", "released"})
_COMMITTED = (pb.UPDATE_OUTCOME_COMMITTED, pb.UPDATE_OUTCOME_ALREADY_COMMITTED)
_SLOTS = 1_000
_PAUSE = 0.1
_FOLDER = uuid.uuid4().hex
_SESSIONS = itertools.count(1)
"""The workers of a process, one after the other, are one to the scheduler."""


class TaskNotHeld(AssertionError):
    """The worker does not hold a task; the message says what is known of it, and which tasks it holds."""


class LeaseMessages:
    """What a worker holds, and the messages of a stream of WorkerService.Lease that say so, which it numbers."""

    def __init__(self, hello: pb.Hello) -> None:
        self.hello = hello
        self.held: dict[str, pb.AssignedLease] = {}
        self.begin()

    def begin(self) -> None:
        self._heartbeats = self._reports = self._last_assignment = 0

    def next_hello(self, number: int) -> pb.LeaseRequest:
        """Returns the hello of a further session, with all held leases."""
        hello = pb.Hello(session_number=number, held_leases=self._held_leases(pb.LEASE_STAGE_ACCEPTED))
        hello.MergeFrom(self.hello)
        return pb.LeaseRequest(hello=hello)

    def hold(self, assignment: pb.Assignment) -> None:
        """Holds the leases of an assignment, and acknowledges it with the next heartbeat."""
        self._last_assignment = assignment.number
        self.held |= {lease.lease_id: lease for lease in assignment.leases}

    def next_heartbeat(
        self, free_slots: int, stage: pb.LeaseStage.ValueType = pb.LEASE_STAGE_ACCEPTED, **fields: Any
    ) -> pb.LeaseRequest:
        self._heartbeats += 1
        heartbeat = pb.Heartbeat(
            number=self._heartbeats,
            free_slots=free_slots,
            held_leases=self._held_leases(stage),
            last_assignment=self._last_assignment,
            **fields,
        )
        return pb.LeaseRequest(heartbeat=heartbeat)

    def next_report(self, *updates: pb.LeaseUpdate) -> pb.LeaseRequest:
        self._reports += 1
        return pb.LeaseRequest(report=pb.Report(number=self._reports, updates=updates))

    def _held_leases(self, stage: pb.LeaseStage.ValueType) -> list[pb.HeldLease]:
        return [pb.HeldLease(lease_id=k, attempt=lease.attempt, stage=stage) for k, lease in self.held.items()]


def update_of(lease: pb.AssignedLease, **update: Any) -> pb.LeaseUpdate:
    return pb.LeaseUpdate(lease_id=lease.lease_id, attempt=lease.attempt, **update)


class HoldingWorker:
    """A worker that takes every task at once and runs nothing. Any thread may call it.

    Attributes:
        patience: seconds that it waits for a task that is on its way.
        strict: whether a test that passes may not end while tasks are held.
    """

    def __init__(self, target: str) -> None:
        self.patience, self.strict, self._automatic = 10.0, True, False
        self._client, self._channel = ContentGenerationClient(target), open_channel(target, None)
        self._messages = LeaseMessages(
            pb.Hello(worker_id="contentgen_worker", folder_id=_FOLDER, process_id=uuid.uuid4().hex, slots=_SLOTS)
        )
        self._outgoing = Outgoing()
        self._interval: float | None = None  # of heartbeats
        self._changed = threading.Condition()
        self._processing: set[str] = set()  # leases, until the test has its say
        self._new: list[str] = []  # tasks that `next_task` has not returned
        self._ended: dict[str, str] = {}  # by task: what was done with its last attempt
        self._sent: dict[int, Sequence[pb.LeaseUpdate]] = {}  # by report of this stream: what is not acknowledged
        self._outcomes: dict[tuple[str, str], int] = {}  # of the last updates, by lease and kind
        self._lost: RequestError | None = None  # why there is no stream
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_stream, name="contentgen_worker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
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
            for lease in self._held.values() if automatic else ():
                self._send(lease, {"completed": _completed(lease)})

    @property
    def held(self) -> list[Task]:
        """The tasks that it holds, oldest first, as they were when it got them."""
        return [document(Task, lease.task) for lease in self._held.values()]

    @property
    def _held(self) -> dict[str, pb.AssignedLease]:
        """By task: what is `processing`, until the test has its say."""
        with self._changed:
            held = self._messages.held.items()
            return {lease.task.task_id: lease for lease_id, lease in held if lease_id in self._processing}

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
        lease = self._lease(task_id)
        self._report(lease, completed=_completed(lease, title=title, body=body, **result))

    def fail(self, task_id: str, *, message: str = "it failed", reason: str = "CREATOR_ERROR") -> None:
        """Fails the attempt; the task is tried again as its submit says. Raises as `complete` does."""
        self._report(self._lease(task_id), failed=pb.Failed(error=task_pb2.TaskError(reason=reason, message=message)))

    def defer(self, task_id: str, *, seconds: float = 60.0, message: str = "") -> None:
        """Puts the task off for so many seconds, 1 at least; that uses up no retry. Raises as `complete` does."""
        self._report(self._lease(task_id), deferred=pb.Deferred(retry_after=duration(seconds), message=message))

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

    def _report(self, lease: pb.AssignedLease, **update: Any) -> None:
        [kind] = update
        with self._changed:
            self._outcomes.pop((lease.lease_id, kind), None)
            self._send(lease, update)
            self._wait(lambda: (lease.lease_id, kind) in self._outcomes)
            if self._outcomes.get((lease.lease_id, kind)) in _COMMITTED:
                return
        raise self._not_held(lease.task.task_id)

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Returns once it holds, or `patience` is over. Raises ConnectionError if there is no stream then."""
        if not self._changed.wait_for(condition, self.patience) and self._lost:
            raise ConnectionError(f"contentgen_worker has lost the scheduler: {self._lost}")

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

    def _send(self, lease: pb.AssignedLease, *updates: dict[str, Any]) -> None:
        [kind] = updates[-1]
        if kind in ENDS_LEASE:
            self._processing.discard(lease.lease_id)
            self._ended[lease.task.task_id] = kind
        self._send_report([update_of(lease, **update) for update in updates])

    def _send_report(self, updates: Sequence[pb.LeaseUpdate]) -> None:
        request = self._messages.next_report(*updates)
        self._sent[request.report.number] = updates
        self._outgoing.put(request)

    def _send_heartbeat(self, **fields: Any) -> None:
        self._outgoing.put(self._messages.next_heartbeat(_SLOTS - len(self._messages.held), **fields))

    # The stream: what is sent, in a thread of gRPC's, and what is read, in ours. The lock keeps numbers in their order.

    def _keep_stream(self) -> None:
        """Opens a stream, and another one when it ends, unless another worker has taken its place."""
        while self._lost is None or self._lost.reason != "SESSION_REPLACED":
            outgoing = Outgoing()
            outgoing.put(self._messages.next_hello(next(_SESSIONS)))
            try:
                for response in WorkerServiceStub(self._channel).Lease(self._requests(outgoing)):
                    with self._changed:
                        self._read(response, outgoing)
                        self._changed.notify_all()
            except grpc.RpcError as error:
                self._lost = request_error(error, None)
            except ValueError:  # as a closed channel raises it
                if not self._closing.is_set():
                    raise
            outgoing.put(None)
            if self._closing.wait(_PAUSE):
                return

    def _requests(self, outgoing: Outgoing) -> Iterator[pb.LeaseRequest]:
        """Yields what is put into the queue, and a heartbeat whenever one is due."""
        while True:
            try:
                if (request := outgoing.get(timeout=self._interval)) is None:
                    return
                yield request
            except queue.Empty:
                with self._changed:
                    self._send_heartbeat()

    def _welcomed(self, welcome: pb.Welcome) -> None:
        self._lost = None
        self._interval = welcome.heartbeat_interval.ToTimedelta().total_seconds() / 2
        for lease_id in welcome.drop_leases:
            del self._messages.held[lease_id]
        self._messages.begin()
        self._send_heartbeat()
        unacknowledged, self._sent = self._sent, {}
        for updates in unacknowledged.values():
            self._send_report(updates)

    def _read(self, response: pb.LeaseResponse, outgoing: Outgoing) -> None:
        match response.WhichOneof("message"):
            case "welcome":
                self._outgoing = outgoing  # nothing but the hello may be sent before
                self._welcomed(response.welcome)
            case "assignment":
                self._messages.hold(response.assignment)
                for lease in response.assignment.leases:
                    self._send(lease, {"accepted": pb.Accepted()}, {"processing": pb.Processing()})
                self._send_heartbeat()
            case "acknowledgement":
                answer = response.acknowledgement
                updates = self._sent.pop(answer.report_number, ())  # none: it is a heartbeat's
                for update, result in zip(updates, answer.results, strict=True):
                    self._settle(update, result.outcome)
                for lease_id in answer.not_renewed_leases:
                    self._give_back(lease_id)
            case "cancel":
                self._give_back(response.cancel.lease_id)
            case "poll_now":
                self._send_heartbeat(last_poll_id=response.poll_now.poll_id)

    def _settle(self, update: pb.LeaseUpdate, outcome: int) -> None:
        """Holds a task once it is `processing`, and no more once it has ended."""
        kind, lease = str(update.WhichOneof("update")), self._messages.held.get(update.lease_id)
        self._outcomes[update.lease_id, kind] = outcome
        if lease is None:
            return
        if kind in ENDS_LEASE or outcome not in _COMMITTED:
            del self._messages.held[update.lease_id]
            if not self._messages.held:
                self._send_heartbeat()
        elif kind == "processing" and self._automatic:
            self._send(lease, {"completed": _completed(lease)})
        elif kind == "processing":
            self._processing.add(lease.lease_id)
            self._new.append(lease.task.task_id)

    def _give_back(self, lease_id: str) -> None:
        """Ends a lease that the scheduler has revoked, since its task was cancelled or has timed out."""
        if lease := self._messages.held.get(lease_id):
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
