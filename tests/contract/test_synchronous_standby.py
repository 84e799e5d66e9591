"""A primary that waits for a standby that is not there: what it did not confirm is not acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio
from structlog.testing import capture_logs

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.account_service_pb2 import CreateAccountRequest
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from scheduler_svc.schema import migration_waits
from scheduler_svc.schema.migrate import upgrade
from tests.harness.cluster import throwaway_server
from tests.harness.later_migrations import LaterMigrations, execute
from tests.harness.replicas import serving
from tests.harness.rpc_errors import refused
from tests.harness.waiting import wait_until

PATIENCE_S = 60
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
            waiting = wait_until(
                lambda: self._canceled() or commit.done(), within=PATIENCE_S, what="a commit waits, or is there"
            )
            commit.result()
            return waiting is not True

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


@pytest.fixture
def primary() -> Iterator[Primary]:
    with throwaway_server() as server:
        engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
        upgrade(engine)
        primary = Primary(server.url())
        try:
            yield primary
        finally:
            primary.close()


async def _canceled(primary: Primary, call: Any) -> None:
    """Ends the waits of the primary until the call has its answer."""
    async with asyncio.timeout(PATIENCE_S):
        while not call.done():
            primary.sql(CANCEL)
            await asyncio.sleep(0)


async def test_a_commit_whose_standby_was_given_up_is_not_acknowledged(primary: Primary) -> None:
    async with serving(primary.url) as replica, aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel:
        account = (await AccountServiceStub(channel).CreateAccount(CreateAccountRequest(name="one"))).account.account_id
        tasks = TaskServiceStub(channel)
        one = pb.SubmitTaskRequest(account_id=account, topic="one", request_id="one")
        many = pb.BatchSubmitTasksRequest(
            requests=[pb.SubmitTaskRequest(account_id=account, topic="many", request_id=str(i)) for i in range(50)]
        )
        with primary.without_standby():
            for submit in (lambda: tasks.SubmitTask(one), lambda: tasks.BatchSubmitTasks(many)):
                answer = asyncio.ensure_future(submit())
                await _canceled(primary, answer)
                with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
                    await answer
        await tasks.SubmitTask(one)
        await tasks.BatchSubmitTasks(many)
        listed = await tasks.ListTasks(pb.ListTasksRequest(account_id=account, page_size=100))
        assert len(listed.tasks) == 51


def test_migrate_tells_that_it_waits_for_the_standby(
    monkeypatch: pytest.MonkeyPatch, primary: Primary, tmp_path: Path
) -> None:
    monkeypatch.setattr(migration_waits, "WAIT_LIMIT", 0.1)
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
