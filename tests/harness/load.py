"""Honest callers, all the time: threads that submit, read, wait and watch, by the client and by plain gRPC.

Each fails at its first call that fails, where the caller of plain gRPC repeats UNAVAILABLE and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import psutil
from grpc import aio, ssl_channel_credentials

from contentgen.client import ContentGenerationClient
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from scheduler_svc.replica.replica import Replica
from tests.harness.client import request, status_name
from tests.harness.waiting import wait_until

PACE = 0.03
"""Seconds between two calls of a reader: enough to be there at each moment, little enough for two cores."""
_CALL_TIMEOUT = 20.0
_RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_REPEATING = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}]}
)
_OPTIONS = (
    ("grpc.service_config", _REPEATING),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # a busy machine may need long for a start
    ("grpc.use_local_subchannel_pool", 1),
)
_LATER = datetime(2099, 1, 1, tzinfo=UTC)
Moves = dict[str, list[str]]
"""The statuses that a watcher was told of each task, in order."""


class Load:
    """Callers of the schedulers at a target, on one account, whose tasks take `seconds` each."""

    def __init__(self, target: str, account_id: int, seconds: float) -> None:
        self.task_ids: list[str] = []
        self.waiting_id = ""
        """A task that is not due for long: each watcher is told of it before the others are submitted."""
        self.calls = 0
        self.told: list[Moves] = []
        """Of each watcher."""
        self._target = target
        self._account_id = account_id
        self._options = {"seconds": f"{seconds:g}"}
        self._over = threading.Event()
        self._ends: list[Callable[[], object]] = []
        self._threads = ThreadPoolExecutor(16, "load")
        self._callers: list[Future[None]] = []
        self._watchers: list[Future[None]] = []

    def start(self, callers: int) -> None:
        """Starts so many callers by the client and as many by plain gRPC, with a reader and a watcher of each kind."""
        self._start_watchers()
        work = [self._work, self._work_plain] * callers + [self._read, self._read_plain]
        self._plain_channels = callers + 2
        self._callers = [self._threads.submit(caller) for caller in work]

    def _start_watchers(self) -> None:
        for watch in (self._watch, self._watch_plain):
            self.told.append(defaultdict(list))
            self._watchers.append(self._threads.submit(watch, self.told[-1]))
        with ContentGenerationClient(self._target, timeout=_CALL_TIMEOUT) as client:
            self.waiting_id = client.submit_task(self._account_id, "not yet", schedule_time=_LATER)
        wait_until(
            lambda: all(self.waiting_id in copy for copy in self._copies()), within=20, what="the watchers watch"
        )

    def connected(self, port: int) -> bool:
        """Returns whether all callers are connected to that port of this machine."""
        mine = (
            connection
            for connection in psutil.Process().net_connections("tcp")
            if connection.status == psutil.CONN_ESTABLISHED
        )
        clients_share_one = 1
        return (
            sum(bool(connection.raddr) and connection.raddr.port == port for connection in mine)
            >= self._plain_channels + clients_share_one
        )

    def finish(self) -> None:
        """Returns once each caller and each watcher has seen its last task complete; raises what a caller met."""
        self._over.set()
        for caller in self._callers:
            caller.result(60)
        ended = len(self.task_ids)

        def seen() -> bool:
            self.check()
            return all(sum(moves[-1:] == ["completed"] for moves in copy.values()) >= ended for copy in self._copies())

        wait_until(seen, within=30, what=f"each watcher has seen {ended} tasks complete")

    def check(self) -> None:
        """Raises what a caller has met so far."""
        for caller in (*self._callers, *self._watchers):
            if caller.done():
                caller.result()

    def close(self) -> None:
        """Ends the watchers too; raises what one met."""
        self._over.set()
        for end in self._ends:
            end()
        self._threads.shutdown()
        for watcher in self._watchers:
            watcher.result()

    def _copies(self) -> Sequence[Moves]:
        return [dict(moves) for moves in self.told]

    def _work(self) -> None:
        with ContentGenerationClient(self._target, timeout=_CALL_TIMEOUT) as client:
            while not self._over.is_set():
                task_id = client.submit_task(self._account_id, "by the client", creator_options=self._options)
                self.task_ids.append(task_id)
                task = client.wait(task_id, timeout=0.5)
                while not task["completed_at"]:
                    client.list_tasks(self._account_id, limit=5)
                    task = client.wait(task_id, timeout=0.5)
                    self.calls += 2
                assert task["status"] == "completed", task

    def _work_plain(self) -> None:
        with self._plain() as stub:
            while not self._over.is_set():
                submit = request(self._account_id, "by plain gRPC", options=self._options, request_id=uuid.uuid4().hex)
                task = stub.SubmitTask(submit, timeout=_CALL_TIMEOUT).task
                self.task_ids.append(task.task_id)
                while not task.HasField("end_time"):
                    stub.ListTasks(
                        task_pb.ListTasksRequest(account_id=self._account_id, page_size=5), timeout=_CALL_TIMEOUT
                    )
                    wanted = task_pb.WaitTaskRequest(task_id=task.task_id)
                    wanted.timeout.FromMilliseconds(500)
                    task = stub.WaitTask(wanted, timeout=_CALL_TIMEOUT).task
                    self.calls += 2
                assert status_name(task.status) == "completed", task

    def _read(self) -> None:
        with ContentGenerationClient(self._target, timeout=_CALL_TIMEOUT) as client:
            while not self._over.wait(PACE):
                if self.task_ids:
                    assert client.get_task_status(self.task_ids[-1])
                    self.calls += 1

    def _read_plain(self) -> None:
        with self._plain() as stub:
            while not self._over.wait(PACE):
                if self.task_ids:
                    stub.GetTask(task_pb.GetTaskRequest(task_id=self.task_ids[-1]), timeout=_CALL_TIMEOUT)
                    self.calls += 1

    def _watch(self, moves: Moves) -> None:
        client = ContentGenerationClient(self._target)
        self._ends.append(client.close)
        for event in client.watch(account_id=self._account_id):
            moves[event["task"]["task_id"]].append(event["task"]["status"])

    def _watch_plain(self, moves: Moves) -> None:
        with self._plain() as stub:
            wanted = task_pb.WatchTasksRequest(account_id=self._account_id)
            while not self._over.is_set():
                stream = stub.WatchTasks(wanted)
                self._ends.append(stream.cancel)
                if self._over.is_set():  # `close` may have missed it
                    stream.cancel()
                try:
                    for answer in stream:
                        wanted.resume_token = answer.event.resume_token
                        moves[answer.event.task.task_id].append(status_name(answer.event.task.status))
                except grpc.RpcError:
                    if stream.code() != grpc.StatusCode.UNAVAILABLE and not self._over.is_set():
                        raise

    @contextmanager
    def _plain(self) -> Iterator[TaskServiceStub]:
        with grpc.insecure_channel(self._target, _OPTIONS) as channel:
            yield TaskServiceStub(channel)


@contextmanager
def loaded(target: str, account_id: int, *, callers: int, seconds: float) -> Iterator[Load]:
    """Yields callers that are at it within the block."""
    load = Load(target, account_id, seconds)
    load.start(callers)
    try:
        yield load
    finally:
        load.close()


# Honest callers during an attack: each of their calls has to succeed within its deadline.


DEADLINE_S = 10.0
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
_BEHIND = 5
"""Calls that have to succeed after the attack, too."""


@asynccontextmanager
async def honest_caller(replica: Replica, token: str = "", ca: Path | None = None) -> AsyncIterator[None]:
    """Makes calls one after the other on its own connection, during and after the block. Raises the error of a call.

    `ca`: whom TLS trusts; None: plaintext.
    """
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    over = asyncio.Event()

    async def call() -> None:
        left = _BEHIND
        while left:
            await stub.ListAccounts(account_pb.ListAccountsRequest(), timeout=DEADLINE_S, metadata=metadata)
            left -= over.is_set()

    async with _channel(f"127.0.0.1:{replica.port}", ca) as channel, asyncio.TaskGroup() as calls:
        stub = AccountServiceStub(channel)
        await stub.ListAccounts(account_pb.ListAccountsRequest(), timeout=DEADLINE_S, metadata=metadata)
        calls.create_task(call())
        try:
            yield
        finally:
            over.set()


def _channel(target: str, ca: Path | None) -> aio.Channel:
    if ca is None:
        return aio.insecure_channel(target, _OWN_CONNECTION)
    return aio.secure_channel(target, ssl_channel_credentials(ca.read_bytes()), _OWN_CONNECTION)
