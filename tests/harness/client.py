"""Clients of one scheduler, both of the library's clients, and how a call failed."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self, TypeVar, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from grpc import aio

from contentgen import AsyncContentGenerationClient, AsyncWatch, ContentGenerationClient
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceStub
from tests.harness.scripted_server import THREAD_NAME
from tests.harness.waiting import on_this_machine, wait_until

# A client of one scheduler: the generated stubs, with the few calls that the scenarios make.


T = TypeVar("T")
Metadata = tuple[tuple[str, str | bytes], ...]
CALL_TIMEOUT = 15.0
"""Seconds for a call that does not wait for anything."""
_WAIT_TASK = {"service": "contentgen.v1.TaskService", "method": "WaitTask"}
_OPTIONS = {"methodConfig": [{"name": [{}], "timeout": f"{CALL_TIMEOUT:g}s"}, {"name": [_WAIT_TASK]}]}
Status = task_pb2.TaskStatus


class Client:
    """Calls one scheduler; to be closed."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, [("grpc.service_config", json.dumps(_OPTIONS))])
        self._tasks = TaskServiceStub(self._channel)
        self._contents = ContentServiceStub(self._channel)
        self._accounts = AccountServiceStub(self._channel)
        self._pool = WorkerPoolServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def create_account(self) -> int:
        return self._accounts.CreateAccount(account_pb.CreateAccountRequest(name="an account")).account.account_id

    def submit(self, account_id: int, topic: str = "a topic", metadata: Metadata = (), **fields: Any) -> str:
        """Returns the id of a new task; see `request`."""
        return self._tasks.SubmitTask(request(account_id, topic, **fields), metadata=metadata).task.task_id

    def submit_all(self, requests: Iterable[task_pb.SubmitTaskRequest]) -> list[str]:
        batch = task_pb.BatchSubmitTasksRequest(requests=requests)
        return [task.task_id for task in self._tasks.BatchSubmitTasks(batch).tasks]

    def task(self, task_id: str) -> task_pb2.Task:
        return self._tasks.GetTask(task_pb.GetTaskRequest(task_id=task_id)).task

    def tasks(self, task_ids: Sequence[str]) -> list[task_pb2.Task]:
        """Returns the tasks in the order of their ids."""
        answer = self._tasks.BatchGetTasks(task_pb.BatchGetTasksRequest(task_ids=task_ids))
        assert not answer.missing_task_ids
        return list(answer.tasks)

    def list_tasks(self, **filters: Any) -> list[task_pb2.Task]:
        """Returns the tasks of one page, which holds more than a scenario makes, newest first."""
        return list(self._tasks.ListTasks(task_pb.ListTasksRequest(page_size=1_000, **filters)).tasks)

    def wait(self, task_id: str, *, within: float) -> task_pb2.Task:
        """Returns the task once it has ended, which has to be within so many seconds."""
        within = on_this_machine(within)
        wanted = task_pb.WaitTaskRequest(task_id=task_id)
        wanted.timeout.FromTimedelta(timedelta(seconds=within))
        task = self._tasks.WaitTask(wanted, timeout=within + CALL_TIMEOUT).task
        late = f"not within {within:g} s: {task_id} has ended; it is {task}"
        assert task.HasField("end_time"), f"{late}, after {self.history(task_id)}"
        return task

    def wait_completed(self, task_id: str, *, within: float) -> task_pb2.Task:
        """Returns the task, which has to complete within so many seconds."""
        task = self.wait(task_id, within=within)
        assert task.status == Status.TASK_STATUS_COMPLETED, task
        return task

    def wait_completed_over_outage(self, task_id: str, *, within: float) -> task_pb2.Task:
        """Returns the same, asked for again as long as there is no answer."""

        def completed() -> task_pb2.Task | None:
            task = if_available(lambda: self.task(task_id))
            return task if task and task.status == Status.TASK_STATUS_COMPLETED else None

        return wait_until(completed, within=within, what=f"{task_id} is completed")

    def wait_for_status(self, task_id: str, status: Status.ValueType, *, within: float) -> task_pb2.Task:
        """Returns the task as soon as it is seen in `status`."""

        def seen() -> task_pb2.Task | None:
            task = self.task(task_id)
            return task if task.status == status else None

        return wait_until(seen, within=within, what=f"{task_id} is {Status.Name(status)}")

    def wait_processing(self, *task_ids: str, within: float = 10.0) -> None:
        """Waits until the CLIs of all these tasks have started, and that is committed."""
        for task_id in task_ids:
            self.wait_for_status(task_id, Status.TASK_STATUS_PROCESSING, within=within)

    def cancel(self, task_id: str, *, force: bool = False) -> task_pb2.Task:
        return self._tasks.CancelTask(task_pb.CancelTaskRequest(task_id=task_id, force=force)).task

    def retry(self, task_id: str) -> task_pb2.Task:
        return self._tasks.RetryTask(task_pb.RetryTaskRequest(task_id=task_id)).task

    def poll(self, task_id: str) -> Status.ValueType:
        """Returns the task's status, once its worker was asked."""
        return self._tasks.PollTask(task_pb.PollTaskRequest(task_id=task_id)).status

    def poll_running(self) -> task_pb.PollRunningTasksResponse:
        """Returns what became of all that runs, once the workers were asked."""
        return self._tasks.PollRunningTasks(task_pb.PollRunningTasksRequest())

    def watch(self, account_id: int, resume_token: str = "") -> task_pb.WatchTasksResponse:
        """Returns the first answer of a watch of an account's tasks."""
        stream = self._tasks.WatchTasks(task_pb.WatchTasksRequest(account_id=account_id, resume_token=resume_token))
        try:
            return next(iter(stream))
        finally:
            stream.cancel()

    def history(self, task_id: str) -> list[task_pb2.TaskEvent]:
        """Returns all moves of the task, oldest first."""
        return list(self._tasks.ListTaskEvents(task_pb.ListTaskEventsRequest(task_id=task_id, page_size=1_000)).events)

    def moves(self, task_id: str) -> list[tuple[str, str]]:
        """Returns the status and the reason of each move."""
        return [(status_name(event.status), event.reason) for event in self.history(task_id)]

    def counts(self) -> Mapping[str, int]:
        return self._tasks.GetTaskStats(task_pb.GetTaskStatsRequest()).counts

    def content(self, content_id: int) -> content_pb.Content:
        return self._contents.GetContent(content_pb.GetContentRequest(content_id=content_id)).content

    def contents(self, task_id: str | None = None) -> list[content_pb.Content]:
        contents: list[content_pb.Content] = []
        wanted = content_pb.ListContentsRequest(page_size=1_000)
        while True:
            page = self._contents.ListContents(wanted)
            contents += page.contents
            if not page.next_page_token:
                return [content for content in contents if task_id in (None, content.task_id)]
            wanted.page_token = page.next_page_token

    def publish_pool(self) -> list[content_pb.PublishPoolEntry]:
        """Returns the entries; a page holds more than a scenario makes."""
        return list(self._contents.ListPublishPool(content_pb.ListPublishPoolRequest(page_size=1_000)).entries)

    def resize(self, worker_id: str, slots: int) -> pool_pb.Worker:
        return self._pool.ResizeWorker(pool_pb.ResizeWorkerRequest(worker_id=worker_id, slots=slots)).worker

    def workers(self) -> dict[str, pool_pb.Worker]:
        pool = self._pool.GetWorkerPool(pool_pb.GetWorkerPoolRequest())
        return {worker.worker_id: worker for worker in pool.workers}


def request(
    account_id: int,
    topic: str = "a topic",
    *,
    timeout: float = 0.0,
    options: Mapping[str, str] | None = None,
    **fields: Any,
) -> task_pb.SubmitTaskRequest:
    """Returns a submit. `timeout` in seconds, 0 for the default; `options` are the CLI's, by name without dashes."""
    submit = task_pb.SubmitTaskRequest(account_id=account_id, topic=topic, creator_options=options, **fields)
    if timeout:
        submit.timeout.FromTimedelta(timedelta(seconds=timeout))
    return submit


def if_available(call: Callable[[], T]) -> T | None:
    """Returns the answer; None: there is none now."""
    try:
        return call()
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and error.code() == grpc.StatusCode.UNAVAILABLE:
            return None
        raise


def status_name(status: Status.ValueType) -> str:
    """Turns `TASK_STATUS_PENDING` into `pending`."""
    return Status.Name(status).removeprefix("TASK_STATUS_").lower()


# Both clients, for tests that hold for both: `AsyncContentGenerationClient` with the interface of the blocking one.


BLOCKING, ASYNCIO = KINDS = ("blocking", "asyncio")


@contextmanager
def opened(kind: str, target: str, **options: Any) -> Iterator[ContentGenerationClient]:
    if kind == BLOCKING:
        with ContentGenerationClient(target, **options) as client:
            yield client
        return
    loop = _Loop()
    try:
        with _OnLoop(loop, AsyncContentGenerationClient(target, **options)) as wrapper:
            yield cast("ContentGenerationClient", wrapper)
    finally:
        loop.close()


class _Loop:
    """An event loop in its own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{THREAD_NAME}-loop")
        self._thread.start()

    def run(self, steps: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(steps, self._loop).result()

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _OnLoop:
    """A client or one of its results, with methods that block until the loop has run them."""

    def __init__(self, loop: _Loop, wrapped: Any) -> None:
        self._loop = loop
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._wrapped, name)
        return self._blocking(attribute) if callable(attribute) else attribute

    def close(self) -> None:
        self._blocking(self._wrapped.close)()

    def __enter__(self) -> Self:
        self._loop.run(self._wrapped.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        async def step() -> Any:
            return await anext(self._wrapped)

        try:
            return self._loop.run(step())
        except StopAsyncIteration:
            raise StopIteration from None

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*args: Any, **more: Any) -> Any:
            result = method(*args, **more)
            return await result if inspect.isawaitable(result) else result

        def blocking(*args: Any, **more: Any) -> Any:
            result = self._loop.run(called(*args, **more))
            return _OnLoop(self._loop, result) if isinstance(result, AsyncIterator | AsyncWatch) else result

        return blocking


async def pages_of(call: Callable[[Any], Awaitable[Any]], request: Any, rows: str) -> list[list[Any]]:
    """Returns all pages of a list, from that of the request on."""
    pages: list[list[Any]] = []
    while True:
        answer = await call(request)
        pages.append(list(getattr(answer, rows)))
        request.page_token = answer.next_page_token
        if not request.page_token:
            return pages


# How a call failed: its code, its ErrorInfo and its other details.


@dataclass(slots=True)
class Refusal:
    """Filled in when the call has failed."""

    message: str = ""
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    retry_after: float | None = None
    preconditions: list[str] = field(default_factory=list)


@contextmanager
def refused(code: grpc.StatusCode, reason: str = "") -> Iterator[Refusal]:
    """Expects the block's call, awaited or not, to fail with `code`, and with `reason` if given."""
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as raised:
        yield refusal
    assert isinstance(raised.value, aio.AioRpcError | grpc.Call)
    assert raised.value.code() == code, raised.value.details()
    _read_details(raised.value, refusal)
    assert refusal.reason == reason


@contextmanager
def bad_fields(*fields: str) -> Iterator[Refusal]:
    """Expects the block's call to be refused for these fields, in this order."""
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        yield refusal
    assert refusal.fields == list(fields)


@contextmanager
def not_found(resource_type: str, resource_id: object) -> Iterator[None]:
    """Expects the block's call to be refused because this does not exist."""
    with refused(grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        yield
    assert refusal.metadata == {"resource_type": resource_type, "resource_id": str(resource_id)}


@contextmanager
def invalid_state(current: str, required: str) -> Iterator[None]:
    """Expects the block's call to be refused for the state that something is in."""
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
        yield
    assert refusal.metadata == {"current_state": current, "required_state": required}
    assert refusal.preconditions == ["INVALID_STATE"]


def refusal_of(error: aio.AioRpcError) -> Refusal:
    refusal = Refusal()
    _read_details(error, refusal)
    return refusal


def _read_details(error: aio.AioRpcError | grpc.Call, refusal: Refusal) -> None:
    refusal.message = error.details() or ""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if packed is None:
        return
    assert isinstance(packed, bytes)
    status = RpcStatus.FromString(packed)
    assert status.message == refusal.message
    assert status.code == error.code().value[0]
    for detail in status.details:
        info, bad, retry, failure = ErrorInfo(), BadRequest(), RetryInfo(), PreconditionFailure()
        if detail.Unpack(info):
            assert info.domain == "contentgen"
            refusal.reason, refusal.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            refusal.fields = [violation.field for violation in bad.field_violations]
        elif detail.Unpack(retry):
            refusal.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(failure):
            refusal.preconditions = [violation.type for violation in failure.violations]
