"""Fixtures of three levels: the application on a database, a scheduler with a channel to it, a stack of processes.

A contract test shares a scheduler with others if it says `usefixtures("shared_scheduler")`, and uses only what a
client, a worker and SQL can reach. A test there that needs a replica within its own process names `replica`, or patches
it, and gets one. So does one that starts another replica beside it: that has a store of assets of its own, which a
database with assets refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.schema.migrate import migrate
from tests.harness.cluster import Databases, SharedDatabase, SharedDatabases, copy_cluster, server_folder
from tests.harness.importing import Importing, ImportingFrom, OldApplication, Sqlite, old_application
from tests.harness.maker import Maker, TaskClient, new_account
from tests.harness.replicas import SharedScheduler, serving, started_shared_scheduler
from tests.harness.scheduling import Scheduling
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stack import EMBEDDED, Previous, Scheduler, Stack, previous_version, running_stack
from tests.harness.stubs import (
    AccountServiceAsyncStub,
    AssetServiceAsyncStub,
    ContentServiceAsyncStub,
    ScheduleServiceAsyncStub,
    SystemServiceAsyncStub,
    TaskServiceAsyncStub,
    WorkerPoolServiceAsyncStub,
)

WITHIN_THE_PROCESS = frozenset({"replica", "pair", "monkeypatch", "caplog", "capsys"})
"""Fixtures that start replicas, look into one, or change it."""


@pytest.fixture(scope="session")
def shared_scheduler(databases: Databases, template: str) -> Iterator[SharedScheduler]:
    """One a pytest process."""
    with started_shared_scheduler(databases, template) as scheduler:
        yield scheduler


@pytest.fixture
def lent(request: pytest.FixtureRequest) -> Iterator[SharedScheduler | None]:
    """The scheduler that this test shares, emptied at its end; None: it has a replica of its own."""
    if "shared_scheduler" not in request.fixturenames or not WITHIN_THE_PROCESS.isdisjoint(request.fixturenames):
        yield None
        return
    scheduler: SharedScheduler = request.getfixturevalue("shared_scheduler")
    yield scheduler
    scheduler.clear()


@pytest.fixture
def db_url(
    lent: SharedScheduler | None, databases: Databases, template: str, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL of a migrated database; the test has to close its connections.

    That of the scheduler that it shares; for integration tests one that they use one after the other; else its own.
    """
    if lent:
        yield lent.db_url
    elif request.node.get_closest_marker("integration"):
        yield request.getfixturevalue("shared_database").url
    else:
        with databases.lent(template) as url:
            yield url


@pytest.fixture
def replica_settings(tmp_path: Path) -> dict[str, Any]:
    """What the test's replica is started with; a module with other settings has its own."""
    return {"assets": tmp_path / "assets"}


@pytest.fixture
async def replica(db_url: str, replica_settings: dict[str, Any]) -> AsyncIterator[Replica]:
    async with serving(db_url, **replica_settings) as replica:
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


def _on_channel(stub: Callable[[aio.Channel], Any]) -> Any:
    @pytest.fixture
    def stub_on_channel(channel: aio.Channel) -> Any:
        return stub(channel)

    return stub_on_channel


accounts = _on_channel(AccountServiceAsyncStub)
assets = _on_channel(AssetServiceAsyncStub)
contents = _on_channel(ContentServiceAsyncStub)
pool = _on_channel(WorkerPoolServiceAsyncStub)
schedules = _on_channel(ScheduleServiceAsyncStub)
system = _on_channel(SystemServiceAsyncStub)
tasks = _on_channel(TaskServiceAsyncStub)


@pytest.fixture
async def account(channel: aio.Channel) -> int:
    return await new_account(channel)


@pytest.fixture
def client(tasks: TaskServiceAsyncStub, account: int) -> TaskClient:
    return TaskClient(tasks, account)


@pytest.fixture
async def worker(channel: aio.Channel) -> AsyncIterator[ScriptedWorker]:
    """A worker that has sent its Hello, and takes nothing until a test calls for it."""
    async with ScriptedWorker(channel) as worker:
        yield worker


@pytest.fixture
def maker(
    tasks: TaskServiceAsyncStub, contents: ContentServiceAsyncStub, worker: ScriptedWorker, account: int
) -> Maker:
    return Maker(tasks, contents, worker, account)


@pytest.fixture(scope="session")
def shared_databases(databases: Databases, template: str) -> Iterator[SharedDatabases]:
    with closing(SharedDatabases(databases, template)) as shared:
        yield shared


@pytest.fixture
def shared_database(shared_databases: SharedDatabases) -> Iterator[SharedDatabase]:
    """A migrated database that no other test uses at the same time."""
    with shared_databases.lent() as database:
        yield database


@pytest.fixture
def scheduling(shared_database: SharedDatabase) -> Iterator[Scheduling]:
    with closing(Scheduling(shared_database.engine)) as scheduling:
        yield scheduling
        scheduling.check()


@pytest.fixture
async def executor_ended() -> AsyncIterator[None]:
    """The threads of the loop's executor end with the test: one of them stops each part of a replica."""
    yield
    await asyncio.get_running_loop().shutdown_default_executor()


@pytest.fixture
def calls(scheduling: Scheduling) -> Iterator[Calls]:
    """Calls on the test's database."""
    with closing(Calls(scheduling.database, 2)) as calls:
        yield calls


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldApplication]:
    """An old database, empty but for its tables, in both that it is known to run on."""
    url = f"sqlite:///{tmp_path}/old.db" if request.param == "sqlite" else request.getfixturevalue("empty_db_url")
    with old_application(url) as application:
        yield application


@pytest.fixture
def importing_from(
    db_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ImportingFrom]:
    """The command, from a URL to the test's own database."""
    monkeypatch.setenv("DATABASE_URL", db_url)
    with ExitStack() as opened:
        yield lambda url: opened.enter_context(closing(Importing(db_url, url, capsys)))


@pytest.fixture
def importing(importing_from: ImportingFrom, old: OldApplication) -> Importing:
    return importing_from(old.url)


@pytest.fixture
def sqlite(importing_from: ImportingFrom, tmp_path: Path) -> Sqlite:
    """The command, from a SQLite file of that name in the test's folder."""
    return lambda name: importing_from(f"sqlite:///{tmp_path}/{name}")


@pytest.fixture
def stack(db_url: str) -> Iterator[Stack]:
    """Schedulers and workers to be started, on a database of the test's own; at its end nothing may be left."""
    with running_stack(db_url) as stack:
        yield stack


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Previous:
    """The version before this one. It is unpacked once, so that it is compiled once."""
    return previous_version(tmp_path_factory.mktemp("previous"))


@pytest.fixture(scope="session")
def made_server() -> Iterator[Path]:
    """The folder of an embedded server that does not run; its database is migrated."""
    with server_folder() as folder:
        with EmbeddedPostgres(folder) as server:
            migrate(server.url())
        yield folder


@pytest.fixture
def server(made_server: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own that loses nothing when it is killed."""
    with server_folder() as folder:
        copy_cluster(made_server, folder)
        with EmbeddedPostgres(folder) as server:
            yield server


@pytest.fixture
def embedded(stack: Stack, made_server: Path) -> Callable[..., Scheduler]:
    """`stack.scheduler` with an embedded database that is there already, as after its first start."""

    def scheduler(**settings: Any) -> Scheduler:
        service = stack.scheduler(database_url=EMBEDDED, **settings)
        service.data_dir.mkdir()
        copy_cluster(made_server, service.data_dir / "postgres")
        return service

    return scheduler
