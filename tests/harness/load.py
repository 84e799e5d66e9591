"""Callers that call all the time while services are replaced, killed or attacked, and watchers of what comes of it.

Tests, `make chaos`, `make cluster` and the fuzzer have theirs from here. Those of benchmarks stand apart, in
`lab.benchmarks.callers`: they are coroutines in processes of their own, and measure instead of judging.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
import psutil
from grpc import aio, ssl_channel_credentials

from contentgen import ContentGenerationClient, RequestError, ResumeTokenExpiredException, TaskChange, Watch
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from scheduler_svc.replica.replica import Replica
from tests.harness.client import status_name
from tests.harness.waiting import wait_until, wait_until_async

T = TypeVar("T")
C = TypeVar("C")
Connect = Callable[[], AbstractContextManager[C]]


class Callers:
    """Threads with a client each."""

    def __init__(self, target: str, *, timeout: float = 4.0, **options: Any) -> None:
        """`options`: of the product's clients, beside the seconds that a call may take."""
        self.target = target
        self.wrong: list[str] = []
        """Answers that no caller should get, and what has ended a thread early."""
        self.over = threading.Event()
        self._options = {"timeout": timeout, **options}
        self._give_up_at = float("inf")
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.check()

    def client(self) -> ContentGenerationClient:
        return ContentGenerationClient(self.target, **self._options)

    def go(self, name: str, connect: Connect[C], work: Callable[[C], None]) -> None:
        """Begins with a thread, which ends some time after `over` is set. `connect` makes its client."""

        def call() -> None:
            try:
                with connect() as client:
                    work(client)
            except Exception as error:
                self.wrong.append(f"the thread {name} died: {error!r}")
                raise

        self._threads.append(threading.Thread(target=call, name=name))
        self._threads[-1].start()

    def stop(self, within: float = 0.0) -> None:
        """Ends the calls; what is under way is repeated for so many seconds more. Idempotent."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + within)
        self.over.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Raises AssertionError if something was wrong so far."""
        assert not self.wrong, self.wrong

    def repeated(self, call: Callable[[], T], name: str, *, patient: bool = True) -> T | None:
        """Repeats what is UNAVAILABLE, as a careful caller would under the same request id, or gives up and is unsure.

        Returns the answer. Returns None where nobody knows what became of the call.
        """
        while True:
            try:
                return call()
            except RequestError as error:
                if error.code not in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:
                    self.wrong.append(f"a {name} was answered {error.code}: {error.message}")
                    return None
            if not patient or time.monotonic() > self._give_up_at:
                return None
            time.sleep(random.uniform(0, 0.3))


class Watchers(Callers):
    """One an account follows every move from start to end, over whatever is done to schedulers."""

    def __init__(
        self,
        target: str,
        tell: Callable[[int, Mapping[str, Any]], None],
        anew: Callable[[ContentGenerationClient, int], None] | None = None,
    ) -> None:
        """`tell` is called with the account and each change.

        `anew` is called with it where a watch has begun again after a failover, to read what was missed; None: no watch
        may end.
        """
        super().__init__(target)
        self._tell = tell
        self._anew = anew
        self._stack = ExitStack()

    def start(self, account_ids: Sequence[int]) -> None:
        """Returns once a scheduler has taken each watch."""
        client = self._stack.enter_context(ContentGenerationClient(self.target))
        for account_id in account_ids:
            watch = self._stack.enter_context(client.watch(account_id=account_id, patience=None))
            self.go(f"watcher-{account_id}", partial(nullcontext, watch), partial(self._follow, client, account_id))

    def stop(self, within: float = 0.0) -> None:
        self._stack.close()
        super().stop(within)

    def _follow(self, client: ContentGenerationClient, account_id: int, watch: Watch[TaskChange]) -> None:
        try:
            for change in watch:
                self._tell(account_id, change)
        except ResumeTokenExpiredException:
            if self._anew is None:
                raise
            with client.watch(account_id=account_id, patience=None) as another:
                self._anew(client, account_id)
                self._follow(client, account_id, another)


# Callers that tests have: each fails at its first call that fails.


PACE = 0.03
"""Seconds between two calls of a reader: enough to be there at each moment, little enough for two cores."""
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


class Load(Callers):
    """Callers of schedulers within the block, on one account, whose tasks take `seconds` each.

    Those of plain gRPC have a channel of their own each, which repeats UNAVAILABLE and nothing else.
    """

    def __init__(self, target: str, account_id: int, *, callers: int, seconds: float) -> None:
        """So many callers by the client and as many by plain gRPC, with a reader and a watcher of each kind."""
        super().__init__(target, timeout=20.0)
        self.task_ids: list[str] = []
        self.waiting_id = ""
        """A task that is not due for long: each watcher is told of it before the others are submitted."""
        self.calls = 0
        self.watched: Sequence[Moves] = (defaultdict(list), defaultdict(list))
        """By the client's watcher, and by that of plain gRPC."""
        self._account_id = account_id
        self._callers = callers
        self._creator_options = {"seconds": f"{seconds:g}"}
        self._watchers = Watchers(target, self._note)
        self._watchers.wrong = self.wrong
        self._ends: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        self._watchers.start([self._account_id])
        self._watchers.go("plain-watcher", self._plain_channel, self._watch_plain)
        with self.client() as client:
            self.waiting_id = client.submit_task(self._account_id, "not yet", schedule_time=_LATER)
        wait_until(lambda: all(self.waiting_id in moves for moves in self.watched), within=20, what="both watch")
        connects: Sequence[Connect[ContentGenerationClient]] = (self.client, self._plain_client)
        for connect in connects:
            for work in (self._work,) * self._callers + (self._read,):
                self.go("caller", connect, work)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._watchers.over.set()
        for end in self._ends:
            end()
        self._watchers.stop()
        super().__exit__(*error)

    def connected(self, port: int) -> bool:
        """Returns whether all callers are connected to that port of this machine."""
        connections = psutil.Process().net_connections("tcp")
        mine = [end.raddr for end in connections if end.status == psutil.CONN_ESTABLISHED and end.raddr]
        channels = self._callers + 2 + 1  # of plain gRPC, with its reader and watcher; the clients share one
        return sum(address.port == port for address in mine) >= channels

    def finish(self) -> None:
        """Returns once each caller and each watcher has seen its last task complete; raises what a caller met."""
        self.stop()
        ended = len(self.task_ids)

        def seen() -> bool:
            self.check()
            copies = [dict(moves) for moves in self.watched]
            return all(sum(moves[-1:] == ["completed"] for moves in copy.values()) >= ended for copy in copies)

        wait_until(seen, within=30, what=f"each watcher has seen {ended} tasks complete")

    def _work(self, client: ContentGenerationClient) -> None:
        while not self.over.is_set():
            task_id = client.submit_task(self._account_id, "a topic", creator_options=self._creator_options)
            self.task_ids.append(task_id)
            task = client.wait(task_id, timeout=0.5)
            while not task["completed_at"]:
                client.list_tasks(self._account_id, limit=5)
                task = client.wait(task_id, timeout=0.5)
                self.calls += 2
            assert task["status"] == "completed", task

    def _read(self, client: ContentGenerationClient) -> None:
        while not self.over.wait(PACE):
            if self.task_ids:
                assert client.get_task_status(self.task_ids[-1])
                self.calls += 1

    def _note(self, _: int, change: Mapping[str, Any]) -> None:
        self.watched[0][change["task"]["task_id"]].append(change["task"]["status"])

    def _watch_plain(self, channel: grpc.Channel) -> None:
        stub, wanted = TaskServiceStub(channel), task_pb.WatchTasksRequest(account_id=self._account_id)
        while not self._watchers.over.is_set():
            stream = stub.WatchTasks(wanted)
            self._ends.append(stream.cancel)
            if self._watchers.over.is_set():  # whoever has set it may have missed this one
                stream.cancel()
            try:
                for answer in stream:
                    wanted.resume_token = answer.event.resume_token
                    self.watched[1][answer.event.task.task_id].append(status_name(answer.event.task.status))
            except grpc.RpcError:
                if stream.code() != grpc.StatusCode.UNAVAILABLE and not self._watchers.over.is_set():
                    raise

    def _plain_channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.target, _OPTIONS)

    @contextmanager
    def _plain_client(self) -> Iterator[ContentGenerationClient]:
        with self._plain_channel() as channel:
            yield ContentGenerationClient(self.target, channel=channel, **self._options)


@dataclass
class HonestCallers:
    """Tasks of an event loop that call a replica in this process, each on connections of its own.

    Each of their calls, one after the other, has to succeed within its deadline.
    """

    DEADLINE_S = 10.0
    replica: Replica
    token: str = ""
    """Of the calls from now on."""
    ca: Path | None = None
    """Whom TLS trusts; None: plaintext."""
    answered: int = 0

    def connected(self) -> aio.Channel:
        target, own_connection = f"127.0.0.1:{self.replica.port}", [("grpc.use_local_subchannel_pool", 1)]
        if self.ca is None:
            return aio.insecure_channel(target, own_connection)
        return aio.secure_channel(target, ssl_channel_credentials(self.ca.read_bytes()), own_connection)

    @asynccontextmanager
    async def calling(self, lasting: int = 1, fresh: int = 0) -> AsyncIterator[None]:
        """Call before, during and after the block, some on a fresh connection each time. Raises the error of a call."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as calls:
            for number in range(lasting + fresh):
                calls.create_task(self._call(over, fresh=number >= lasting))
            try:
                await self.more(lasting + fresh)
                yield
                await self.more(5 * (lasting + fresh))
            finally:
                over.set()

    async def more(self, count: int) -> None:
        """Returns after so many more calls were answered."""
        goal = self.answered + count
        await wait_until_async(lambda: self.answered >= goal, within=2 * self.DEADLINE_S, what="calls go on")

    async def _call(self, over: asyncio.Event, *, fresh: bool) -> None:
        request = account_pb.ListAccountsRequest()
        while not over.is_set():
            async with self.connected() as channel:
                stub = AccountServiceStub(channel)
                while not over.is_set():
                    metadata = (("authorization", f"Bearer {self.token}"),) if self.token else ()
                    await stub.ListAccounts(request, timeout=self.DEADLINE_S, metadata=metadata)
                    self.answered += 1
                    if fresh:
                        break
