"""What callers and workers see while the database is away or refuses."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import grpc
import psycopg2
import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from structlog.testing import capture_logs

from contentgen.service.values import Address
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.config import Settings
from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.replica.replica import Replica
from scheduler_svc.schema import migrate
from scheduler_svc.schema.migrate import upgrade
from tests.harness.client import refused
from tests.harness.cluster import Databases, throwaway_server
from tests.harness.database_faults import LaterMigrations, altered, away, execute, frozen_backends
from tests.harness.maker import TaskClient, new_account, submitted
from tests.harness.replicas import channel_to, serving
from tests.harness.scheduling import sql
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.stubs import TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_async
from tests.harness.watching import first_event, moves_of, watching

pytestmark = pytest.mark.contract


# What callers see while the database is away, and while a replica goes away.


TASKS = "SELECT count(*) FROM tasks"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


def demoted(cluster: EmbeddedPostgres, db_url: str) -> AbstractContextManager[None]:
    """Who connects meanwhile may only read, and for as long as that connection lasts."""
    read_only = "default_transaction_read_only"
    return altered(cluster, db_url, f"SET {read_only} = on", f"RESET {read_only}")


Outage = Callable[[EmbeddedPostgres, str], AbstractContextManager[None]]


class HealthWatch:
    """A client's watch of the health. A status may flicker while connections break: Check decides which one holds."""

    def __init__(self, channel: aio.Channel) -> None:
        health: Any = HealthStub(channel)
        self._check = health.Check
        self._watch = health.Watch(HealthCheckRequest())

    async def reads(self, status: int) -> None:
        """Waits until the watch tells `status` and the health is so."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self._watch.read()).status != status or await self._now() != status:
                pass

    def cancel(self) -> None:
        self._watch.cancel()

    async def _now(self) -> int:
        status: int = (await self._check(HealthCheckRequest())).status
        return status


@pytest.mark.parametrize("outage", [away, demoted])
async def test_a_database_that_is_away_or_takes_no_writes_is_unavailable_and_comes_back(
    cluster: EmbeddedPostgres, db_url: str, channel: aio.Channel, client: TaskClient, *, outage: Outage
) -> None:
    """Connections to one that takes no writes are given up: its address may lead to another server."""
    watch = HealthWatch(channel)
    await watch.reads(SERVING)
    submits = [client.request(request_id=f"{n}") for n in range(60)]
    with outage(cluster, db_url):
        for call in (client.stub.SubmitTask(submits[0]), client.batch(submits)):
            with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") as refusal:
                await call
            assert refusal.retry_after
        await watch.reads(NOT_SERVING)
        with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
            async with ScriptedWorker(channel):
                pass
        # what takes no writes is read all the same
        with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") if outage is away else nullcontext():
            await client.stats()
    await watch.reads(SERVING)
    assert {task.status for task in (await client.batch(submits)).tasks} == {task_pb2.TASK_STATUS_PENDING}


async def test_a_database_that_does_not_answer_for_a_heartbeat_interval_is_away(db_url: str, engine: sa.Engine) -> None:
    async with serving(db_url, lease_ttl=5) as replica, channel_to(replica) as channel:
        watch = HealthWatch(channel)
        await watch.reads(SERVING)
        with frozen_backends(engine):
            await watch.reads(NOT_SERVING)
        await watch.reads(SERVING)


async def test_a_watch_goes_on_with_its_token_after_an_outage(
    cluster: EmbeddedPostgres, db_url: str, replica: Replica, tasks: TaskServiceAsyncStub, account: int
) -> None:
    task_id = await submitted(tasks, account)
    async with watching(tasks, account_id=account) as watcher:
        token = (await watcher.next()).resume_token
        with away(cluster, db_url):
            replica._feed.hint()
            with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
                await watcher.next()
            with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
                await first_event(tasks, account_id=account)
    await wait_until_async(lambda: replica.health.serving, within=PATIENCE_S, what="the database is back")
    await tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id))
    resumed = await first_event(tasks, account_id=account, resume_token=token)
    assert moves_of([resumed]) == [(task_id, "pending", "cancelled")]


@asynccontextmanager
async def going_away(db_url: str) -> AsyncIterator[tuple[Replica, aio.Channel]]:
    """A replica that the test stops."""
    replica = Replica(Settings(listen=Address("127.0.0.1", 0)), db_url)
    await replica.start()
    async with channel_to(replica) as channel:
        yield replica, channel
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_a_replica_that_goes_away_says_so_and_waits_for_its_workers(db_url: str) -> None:
    async with going_away(db_url) as (replica, channel):
        watch = HealthWatch(channel)
        async with ScriptedWorker(channel) as worker:
            stopping = asyncio.create_task(replica.stop(within=PATIENCE_S))
            await watch.reads(NOT_SERVING)
            watch.cancel()
            await worker.read("reconnect")
            with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
                async with ScriptedWorker(channel, hello(worker_id="w2", folder_id="f2")):
                    pass
            assert (await worker.heartbeat(0)).heartbeat_number == 1
            assert not stopping.done()
            await worker.done_writing()
            async with asyncio.timeout(PATIENCE_S / 2):
                await stopping


async def test_calls_that_wait_end_before_their_replica_does(db_url: str) -> None:
    async with going_away(db_url) as (replica, channel), ScriptedWorker(channel) as worker:
        tasks = TaskServiceAsyncStub(channel)
        task_id = await submitted(tasks, await new_account(channel))
        await worker.start((await worker.take())[0])
        forever = Duration(seconds=PATIENCE_S)
        wait = asyncio.ensure_future(tasks.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=forever)))
        poll = asyncio.ensure_future(tasks.PollTask(pb.PollTaskRequest(task_id=task_id)))
        await worker.polled()
        await wait_until_async(lambda: replica._waiters._events, within=PATIENCE_S, what="the call waits")
        stopping = asyncio.create_task(replica.stop(within=PATIENCE_S))
        async with asyncio.timeout(PATIENCE_S / 2):
            for call in (poll, wait):
                with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
                    await call
            await worker.done_writing()
            await stopping


async def test_a_call_in_flight_ends_before_the_replica(db_url: str, engine: sa.Engine) -> None:
    async with going_away(db_url) as (replica, channel):
        request = pb.SubmitTaskRequest(account_id=await new_account(channel), topic="a topic")
        calls = [TaskServiceAsyncStub(channel).SubmitTask(request) for _ in range(50)]
        assert (await calls[0]).task.task_id
        await replica.drain(within=PATIENCE_S)  # what comes even later, a stop cancels
        codes = [await call.code() for call in calls]
        await replica.stop()
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert sql(engine, TASKS) == [(codes.count(grpc.StatusCode.OK),)]


# A primary that waits for a standby that is not there: what it did not confirm is not acknowledged.


CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


class Primary:
    """A server, and the session of its operator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = psycopg2.connect(url.replace("+psycopg2", ""))
        self._session.autocommit = True

    def sql(self, *statements: str) -> None:
        with self._session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    @contextmanager
    def without_standby(self) -> Iterator[None]:
        """Each commit waits for a standby that is not there."""
        self._expect("absent")
        wait_until(self._waits, within=PATIENCE_S, what="commits wait for the standby")
        try:
            yield
        finally:
            self._expect("")
            self._commit()  # it waits until no commit has to wait any more

    def _expect(self, standby: str) -> None:
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'", "SELECT pg_reload_conf()")

    def _waits(self) -> bool:
        """Whether a commit waits; the server takes the setting in some time after its reload."""
        with ThreadPoolExecutor(1) as thread:
            commit = thread.submit(self._commit)
            canceled = 0
            while not commit.done():  # what is canceled may be the wait of another commit
                canceled += self._canceled()
            commit.result()
        return canceled > 0

    def _commit(self) -> None:
        with closing(psycopg2.connect(self.url.replace("+psycopg2", ""))) as session, session.cursor() as cursor:
            session.autocommit = True
            cursor.execute("SET synchronous_commit = on")  # which a throw-away server has off
            cursor.execute("SELECT pg_logical_emit_message(true, 'test', '')")

    def _canceled(self) -> int:
        """Ends the waits of commits; returns how many."""
        with self._session.cursor() as cursor:
            cursor.execute(CANCEL)
            return cursor.rowcount

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Databases]:
    """The setting is of a whole server."""
    with throwaway_server() as server, closing(Databases(server)) as databases:
        yield databases


@pytest.fixture
def primary(own_server: Databases) -> Iterator[Primary]:
    with own_server.lent() as url, closing(Primary(url)) as primary:
        upgrade(sa.create_engine(url, poolclass=sa.NullPool))
        yield primary


@pytest.fixture
async def primary_channel(primary: Primary) -> AsyncIterator[aio.Channel]:
    """To a replica on the primary."""
    async with serving(primary.url, lease_ttl=5) as replica, channel_to(replica) as channel:
        yield channel


@pytest.fixture
async def primary_client(primary_channel: aio.Channel) -> TaskClient:
    return TaskClient(TaskServiceAsyncStub(primary_channel), await new_account(primary_channel))


async def _canceled(primary: Primary, call: Any) -> None:
    """Ends the waits of the primary until the call has its answer."""
    async with asyncio.timeout(PATIENCE_S):
        while not call.done():
            primary.sql(CANCEL)
            await asyncio.sleep(0)


async def test_a_commit_whose_standby_was_given_up_is_not_acknowledged(
    primary: Primary, primary_client: TaskClient
) -> None:
    one = primary_client.request("one", request_id="one")
    many = [primary_client.request("many", request_id=str(i)) for i in range(50)]
    with primary.without_standby():
        for submit in (lambda: primary_client.stub.SubmitTask(one), lambda: primary_client.batch(many)):
            answer = asyncio.ensure_future(submit())
            await _canceled(primary, answer)
            with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
                await answer
    await primary_client.stub.SubmitTask(one)
    await primary_client.batch(many)
    listed = await primary_client.stub.ListTasks(pb.ListTasksRequest(account_id=primary_client.account, page_size=100))
    assert len(listed.tasks) == 51


async def test_a_commit_that_waits_for_its_standby_is_acknowledged_once_the_wait_ends(
    primary: Primary, primary_channel: aio.Channel, primary_client: TaskClient
) -> None:
    """The replica does not serve meanwhile: an old primary that comes back alone harms nobody."""
    engine = sa.create_engine(primary.url, poolclass=sa.NullPool)
    watch = HealthWatch(primary_channel)
    await watch.reads(SERVING)
    with primary.without_standby():
        submit = asyncio.create_task(primary_client.submit())
        await watch.reads(NOT_SERVING)
        assert not submit.done()
        assert sql(engine, TASKS) == [(0,)]
    await submit
    await watch.reads(SERVING)
    assert sql(engine, TASKS) == [(1,)]


def test_migrate_tells_that_it_waits_for_the_standby(
    monkeypatch: pytest.MonkeyPatch, primary: Primary, tmp_path: Path
) -> None:
    monkeypatch.setattr(migrate, "WAIT_LIMIT", 0.1)
    later = LaterMigrations(tmp_path)
    later.add("0090", execute("ALTER TABLE workers ADD COLUMN later INTEGER"))
    engine = sa.create_engine(primary.url, poolclass=sa.NullPool)
    with ThreadPoolExecutor() as executor, capture_logs() as logs:
        with primary.without_standby():
            migrating = executor.submit(upgrade, engine, migrations=later.folder)
            wait_until(lambda: waits_of(logs), within=PATIENCE_S, what="it tells what it waits for")
        assert migrating.result(PATIENCE_S) == ["0090"]
    assert waits_of(logs)[0] == "a synchronous standby confirms its commit: synchronous_standby_names = absent"


def waits_of(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a migration said that it waits for."""
    return [line["waits_for"] for line in logs if "waits_for" in line]


# The database refuses a worker's message after the worker's stream has ended.


WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def test_a_refusal_after_the_stream_s_end_raises_nothing(
    channel: aio.Channel, engine: sa.Engine, replica: Replica
) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    watching = engine.execution_options(isolation_level="AUTOCOMMIT")  # else it would read its first snapshot again
    with engine.connect() as holder, watching.connect() as observer:
        async with ScriptedWorker(channel) as worker:
            holder.execute(sa.text("LOCK TABLE workers IN EXCLUSIVE MODE"))
            await worker.send_heartbeat(0)
            await wait_until_async(lambda: observer.scalar(WAITING), within=10, what="the state waits for its row")
        await wait_until_async(lambda: not len(replica._streams), within=10, what="the stream has gone")
        holder.execute(sa.text("UPDATE workers SET session_key = nextval('session_seq') WHERE worker_id = 'w1'"))
        holder.commit()
    async with ScriptedWorker(channel, hello(session_number=2)) as successor:
        await successor.heartbeat(0)  # behind the other in the lane
    gc.collect()  # an exception that was never retrieved is logged when it is collected
    assert faults == []
