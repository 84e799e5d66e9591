"""The database refuses a worker's message after the worker's stream has ended."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import sqlalchemy as sa
from grpc import aio

from scheduler_svc.replica.replica import Replica
from tests.harness.lease_stream import hello
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.waiting import wait_until_async

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
