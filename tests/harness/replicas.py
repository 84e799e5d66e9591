"""Replicas within the test's process, each on a free port, and a scheduler that tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from grpc import aio
from psycopg2 import errors, extensions

from contentgen.service.values import Address
from scheduler_svc.config import Settings
from scheduler_svc.database.connections import connect
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.access import Limits
from tests.harness.cluster import Databases, rows_of
from tests.harness.stack import Scheduler, running_stack
from tests.harness.waiting import wait_until_async, wait_until_gone

MAX_QUEUE_SIZE = 5_000


@asynccontextmanager
async def serving(db_url: str, **settings: Any) -> AsyncIterator[Replica]:
    """Yields a replica that serves; at the end it is stopped without waiting for calls in flight."""
    async with serving_all(db_url, 1, **settings) as (replica,):
        yield replica


def channel_to(replica: Replica) -> aio.Channel:
    return aio.insecure_channel(f"127.0.0.1:{replica.port}")


@asynccontextmanager
async def serving_all(db_url: str, count: int, **settings: Any) -> AsyncIterator[list[Replica]]:
    try:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(serving_beside(db_url, **settings)) for _ in range(count)]
    finally:  # else its threads would live as long as the loop
        await asyncio.get_running_loop().shutdown_default_executor()


@asynccontextmanager
async def serving_beside(db_url: str, limits: Limits | None = None, **settings: Any) -> AsyncIterator[Replica]:
    """Serves beside another replica that lives longer and uses the loop's threads too."""
    with TemporaryDirectory() as assets:
        more = {"listen": Address("127.0.0.1", 0), "assets": Path(assets), **settings}
        wanted = Settings(max_queue_size=MAX_QUEUE_SIZE, **more)
        replica = Replica(wanted, db_url, limits)
        await replica.start()
        try:
            await wait_until_async(lambda: replica.health.serving, within=60, what="the replica serves")
            yield replica
        finally:
            await replica.stop(within=0)


# A scheduler that tests use one after the other: each finds its database empty.


_KEPT = (
    "alembic_version",
    "asset_store",
    "backups",
    "count_floor",
    "deployment",
    "reaper",
    "replicas",
    "schema_compatibility",
    "search_index",
)
"""What a database has after its migration, and the scheduler's own presence."""
_RESTARTED = ("accounts_account_id_seq", "schedules_schedule_id_seq")
"""Of ids that tests know: their first account is 1. Others go on, since the scheduler remembers what it has seen."""
_TABLES = f"SELECT relname FROM pg_stat_user_tables WHERE relname NOT IN {_KEPT} ORDER BY relname"
_GRACE_S = 60.0


class SharedScheduler:
    """A process of its own, so that what it keeps running is not taken for what a test has left."""

    def __init__(self, scheduler: Scheduler, db_url: str, admin: extensions.connection) -> None:
        self.target = scheduler.target
        self.db_url = db_url
        self.assets = scheduler.data_dir / "assets"
        self._rows = partial(rows_of, admin)
        tables = [table for (table,) in self._rows(_TABLES)]
        deletes = [f"DELETE FROM {table}" for table in tables]
        restarts = [f"ALTER SEQUENCE {sequence} RESTART" for sequence in _RESTARTED]
        self._clear = "; ".join(["BEGIN", *deletes, *restarts, "COMMIT"])
        self._rows("SET session_replication_role = replica")  # foreign keys do not prescribe the order

    def clear(self) -> None:
        """Deletes what a test has made, once the streams of its workers have ended."""
        connected = "SELECT worker_id FROM workers WHERE connected LIMIT 10"
        wait_until_gone(lambda: self._rows(connected), within=_GRACE_S, what="the test's workers have gone")
        while True:
            try:
                self._rows(self._clear)
            except errors.DeadlockDetected:  # with a loop of the scheduler
                self._rows("ROLLBACK")
            else:
                return


@contextmanager
def started_shared_scheduler(databases: Databases, template: str, **more: str) -> Iterator[SharedScheduler]:
    """Yields one on a copy of `template`, with the settings of a replica within a test's process, and more."""
    settings = {"CONTENTGEN_MAX_QUEUE_SIZE": str(MAX_QUEUE_SIZE), "CONTENTGEN_WEBHOOK_ALLOW": "127.0.0.0/8", **more}
    with databases.lent(template) as url, running_stack(url) as stack, closing(connect(sa.make_url(url))) as admin:
        yield SharedScheduler(stack.scheduler(lease_ttl=120, **settings).start(), url, admin)
