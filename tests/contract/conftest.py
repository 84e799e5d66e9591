"""A replica on its own database, and a channel to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
from scheduler_svc.replica import Replica
from tests.contract.maker import Maker
from tests.harness.replicas import serving
from tests.harness.scripted_worker import ScriptedWorker

if TYPE_CHECKING:  # for type checkers only
    from contentgen.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub
    from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceAsyncStub
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub
    from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceAsyncStub


@pytest.fixture
async def replica(db_url: str, tmp_path: Path) -> AsyncIterator[Replica]:
    async with serving(db_url, assets=tmp_path / "assets") as replica:
        yield replica


@pytest.fixture
async def channel(replica: Replica) -> AsyncIterator[aio.Channel]:
    async with aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel:
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
    made = await accounts.CreateAccount(account_pb.CreateAccountRequest(name="an account"))
    return made.account.account_id


@pytest.fixture
async def worker(channel: aio.Channel) -> AsyncIterator[ScriptedWorker]:
    """A worker that has sent its Hello, and takes nothing until a test calls for it."""
    async with ScriptedWorker(channel) as worker:
        yield worker


@pytest.fixture
def made(tasks: TaskServiceAsyncStub, contents: ContentServiceAsyncStub, worker: ScriptedWorker, account: int) -> Maker:
    return Maker(tasks, contents, worker, account)
