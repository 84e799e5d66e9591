"""A replica on its own database, and a channel to it; or, where a module says so, a scheduler that tests share.

A module whose tests use only what a client, a worker and SQL can reach marks them with `usefixtures("shared")`. A test
there that needs a replica within its own process names `replica`, or patches it, and gets one. So does one that starts
another replica beside it: that has a store of assets of its own, which a database with assets refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from grpc import aio

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceStub
from scheduler_svc.replica.replica import Replica
from tests.contract.maker import Maker
from tests.harness.cluster import Databases
from tests.harness.replicas import serving
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.shared_scheduler import SharedScheduler, shared_scheduler

if TYPE_CHECKING:  # for type checkers only
    from contentgen.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub
    from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceAsyncStub
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub
    from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceAsyncStub


WITHIN_THE_PROCESS = frozenset({"replica", "pair", "monkeypatch", "caplog", "capsys"})
"""Fixtures that start replicas, look into one, or change it."""


@pytest.fixture(scope="session")
def shared(databases: Databases, template: str) -> Iterator[SharedScheduler]:
    """One a pytest process."""
    with shared_scheduler(databases, template) as scheduler:
        yield scheduler


@pytest.fixture
def lent(request: pytest.FixtureRequest) -> Iterator[SharedScheduler | None]:
    """The scheduler that this test shares, emptied at its end; None: it has a replica of its own."""
    if "shared" not in request.fixturenames or not WITHIN_THE_PROCESS.isdisjoint(request.fixturenames):
        yield None
        return
    scheduler: SharedScheduler = request.getfixturevalue("shared")
    yield scheduler
    scheduler.clear()


@pytest.fixture
def db_url(lent: SharedScheduler | None, databases: Databases, template: str) -> Iterator[str]:
    """The URL of the database of the test's scheduler; the test has to close its connections."""
    if lent:
        yield lent.db_url
    else:
        with databases.lent(template) as url:
            yield url


@pytest.fixture
async def replica(db_url: str, tmp_path: Path) -> AsyncIterator[Replica]:
    async with serving(db_url, assets=tmp_path / "assets") as replica:
        yield replica


@pytest.fixture
def target(lent: SharedScheduler | None, databases: Databases, request: pytest.FixtureRequest) -> str:
    """The address of the test's scheduler. The databases' server is named, else it could start within a test."""
    return lent.target if lent else f"127.0.0.1:{request.getfixturevalue('replica').port}"


@pytest.fixture
async def ended_threads(lent: SharedScheduler | None) -> AsyncIterator[None]:
    """The threads of the test's loop end with the test; a replica within the process ends them itself."""
    yield
    if lent:
        await asyncio.get_running_loop().shutdown_default_executor()


@pytest.fixture
async def channel(target: str, ended_threads: None) -> AsyncIterator[aio.Channel]:
    async with aio.insecure_channel(target) as channel:
        yield channel


@pytest.fixture
def tasks(channel: aio.Channel) -> TaskServiceAsyncStub:
    return TaskServiceStub(channel)


@pytest.fixture
def contents(channel: aio.Channel) -> ContentServiceAsyncStub:
    return ContentServiceStub(channel)


@pytest.fixture
def accounts(channel: aio.Channel) -> AccountServiceAsyncStub:
    return AccountServiceStub(channel)


@pytest.fixture
def schedules(channel: aio.Channel) -> ScheduleServiceAsyncStub:
    return ScheduleServiceStub(channel)


@pytest.fixture
def pool(channel: aio.Channel) -> WorkerPoolServiceAsyncStub:
    return WorkerPoolServiceStub(channel)


@pytest.fixture
async def account(accounts: AccountServiceAsyncStub) -> int:
    """The id of an account that takes submits."""
    answer = await accounts.CreateAccount(account_pb.CreateAccountRequest(name="an account"))
    return answer.account.account_id


@pytest.fixture
async def worker(channel: aio.Channel) -> AsyncIterator[ScriptedWorker]:
    """A worker that has sent its Hello, and takes nothing until a test calls for it."""
    async with ScriptedWorker(channel) as worker:
        yield worker


@pytest.fixture
def made(tasks: TaskServiceAsyncStub, contents: ContentServiceAsyncStub, worker: ScriptedWorker, account: int) -> Maker:
    return Maker(tasks, contents, worker, account)
