"""WorkerPoolService over a real server on a real database, with scripted workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from grpc import aio

from contentgen.client import ContentGenerationClient
from contentgen.v1 import worker_pool_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.replica.replica import Replica
from tests.api.cases import Bad, Good, The, missing, of
from tests.harness.client import pages_of
from tests.harness.credentials import Caller
from tests.harness.maker import TaskClient
from tests.harness.replicas import channel_to, serving_beside
from tests.harness.scheduling import sql
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.stubs import WorkerPoolServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]


async def shown(pool: WorkerPoolServiceAsyncStub) -> pb.Worker:
    """The only worker."""
    (worker,) = (await pool.GetWorkerPool(pb.GetWorkerPoolRequest())).workers
    return worker


async def wait_for(
    pool: WorkerPoolServiceAsyncStub, shows: Callable[[pb.GetWorkerPoolResponse], bool], what: str
) -> None:
    async def is_shown() -> bool:
        return shows(await pool.GetWorkerPool(pb.GetWorkerPoolRequest()))

    await wait_until_async(is_shown, within=10, what=what)


async def test_the_pool_shows_each_worker(
    client: TaskClient, pool: WorkerPoolServiceAsyncStub, channel: aio.Channel, replica: Replica
) -> None:
    await client.submit_all(2)
    greeting = hello(
        worker_id="w2", folder_id="f2", labels={"zone": "a"}, version="1.2", creator_version="content-creator 3"
    )
    async with ScriptedWorker(channel) as first, ScriptedWorker(channel, greeting) as second:
        await first.run()
        await first.heartbeat(0)
        await second.heartbeat(0)
        answer = await pool.GetWorkerPool(pb.GetWorkerPoolRequest())
        assert (answer.num_workers, answer.active_workers, answer.total_queue_size) == (2, 1, 1)
        busy, idle = answer.workers
        assert (busy.worker_id, busy.running, busy.slots, busy.busy_slots) == ("w1", True, 3, 1)
        assert (idle.worker_id, idle.running, idle.busy_slots, idle.queue_size) == ("w2", True, 0, 0)
        assert (dict(idle.labels), idle.version, idle.creator_version) == ({"zone": "a"}, "1.2", "content-creator 3")
        assert (idle.hostname, idle.scheduler_id, idle.draining) == ("host", replica.scheduler_id, False)
        assert idle.last_heartbeat_time.ToMicroseconds() >= idle.connect_time.ToMicroseconds() > 0

    await wait_for(
        pool,
        lambda answer: answer.num_workers == 0 and [worker.running for worker in answer.workers] == [False, False],
        "both workers are shown as gone",
    )


def fill(engine: sa.Engine, count: int) -> None:
    """Workers that said hello a moment ago; every tenth is gone by now, every hundredth has a busy slot.

    They have no streams that would end: a scheduler that tests share would wait for that.
    """
    insert = """
        INSERT INTO workers (worker_id, session_key, folder_id, session_number, process_id, hostname, version,
            slots, labels, creator_path, creator_version, scheduler_id, connected, draining, connect_time,
            heartbeat_time, desired_drain)
        SELECT 'worker-' || lpad(n::text, 5, '0') || '-of-some-host-name', n, 'f', 1, 'p', 'some-host-name',
            '1.0.0', 4, '{"zone": "a"}', 'content-creator', 'content-creator 3', 'a-scheduler', n % 10 <> 0,
            false, now(), now(), false
        FROM generate_series(1, :count) AS n"""
    sql(engine, insert, count=count)
    insert = """
        INSERT INTO leases (task_key, attempt, fence, worker_id, status, account_id, priority, tag, timeout_ms,
            claim_time, accept_time, expire_time)
        SELECT row_number() OVER (), 1, 1, worker_id, 2, 1, 5, 0, 1000, now(), now(), now() + interval '1 hour'
        FROM workers WHERE session_key % 100 = 1"""
    sql(engine, insert)


async def test_a_pool_of_twenty_thousand_workers_is_shown_completely(
    pool: WorkerPoolServiceAsyncStub, replica: Replica, engine: sa.Engine
) -> None:
    fill(engine, 20_000)
    pages = [await pool.GetWorkerPool(pb.GetWorkerPoolRequest())]
    assert len(pages[0].workers) > 10_000, "who asks for no page gets what an answer holds"
    while token := pages[-1].next_page_token:
        pages.append(await pool.GetWorkerPool(pb.GetWorkerPoolRequest(page_token=token)))
    for page in pages:
        assert (page.num_workers, page.active_workers) == (18_000, 200), "counts are of the whole pool"
    worker_ids = [worker.worker_id for page in pages for worker in page.workers]
    assert worker_ids == sorted(set(worker_ids))
    assert len(worker_ids) == 20_000
    with ContentGenerationClient(f"127.0.0.1:{replica.port}", timeout=PATIENCE_S) as client:
        status = await asyncio.to_thread(client.get_worker_pool_status)
    assert (status["num_workers"], status["total_slots"], len(status["worker_statuses"])) == (18_000, 80_000, 20_000)


async def test_the_pool_is_paged(pool: WorkerPoolServiceAsyncStub, replica: Replica, engine: sa.Engine) -> None:
    fill(engine, 5)
    workers = list((await pool.GetWorkerPool(pb.GetWorkerPoolRequest())).workers)
    pages = await pages_of(pool.GetWorkerPool, pb.GetWorkerPoolRequest(page_size=2), "workers")
    assert pages == [workers[:2], workers[2:4], workers[4:]]


async def test_an_unhealthy_worker_is_shown_until_its_heartbeat_is_healthy(
    pool: WorkerPoolServiceAsyncStub, worker: ScriptedWorker
) -> None:
    await worker.heartbeat(3)
    well = await shown(pool)
    assert (well.unhealthy, well.last_error, well.HasField("unhealthy_time")) == (False, "", False)

    worker.last_error = "no\0 model answers"
    await worker.heartbeat(0)
    ill = await shown(pool)
    assert (ill.unhealthy, ill.last_error, ill.running) == (True, "no model answers", True)
    assert ill.unhealthy_time.ToMicroseconds() >= well.last_heartbeat_time.ToMicroseconds()

    worker.last_error = "é" * 1_001
    await worker.heartbeat(1)
    still = await shown(pool)
    assert (still.unhealthy_time, still.last_error) == (ill.unhealthy_time, "é" * 1_000), "since when stays"

    worker.last_error = ""
    await worker.heartbeat(1)
    untold = await shown(pool)
    assert (untold.unhealthy, untold.last_error) == (True, "")

    worker.last_error = None
    await worker.heartbeat(3)
    again = await shown(pool)
    assert (again.unhealthy, again.last_error, again.HasField("unhealthy_time")) == (False, "", False)


async def test_the_last_of_several_heartbeats_decides_a_worker_s_health(
    pool: WorkerPoolServiceAsyncStub, worker: ScriptedWorker
) -> None:
    for number in range(20):
        worker.last_error = f"error {number}"
        await worker.send_heartbeat(0)
    for _ in range(20):
        await worker.read("acknowledgement")
    assert (await shown(pool)).last_error == "error 19"


async def test_a_worker_s_health_outlives_its_stream_but_not_its_process(
    channel: aio.Channel, pool: WorkerPoolServiceAsyncStub
) -> None:
    async with ScriptedWorker(channel, hello(process_id="p1")) as worker:
        worker.last_error = "no model answers"
        await worker.heartbeat(0)
        ill = await shown(pool)
    await wait_for(pool, lambda answer: not answer.workers[0].running, "the worker is shown as gone")
    gone = await shown(pool)
    assert (gone.unhealthy, gone.last_error, gone.HasField("unhealthy_time")) == (False, "", False)
    async with ScriptedWorker(channel, hello(process_id="p1", session_number=2)):
        back = await shown(pool)
        assert (back.unhealthy_time, back.last_error) == (ill.unhealthy_time, "no model answers")
    async with ScriptedWorker(channel, hello(process_id="p2", session_number=3)):
        assert not (await shown(pool)).unhealthy


async def test_a_worker_is_drained_and_undrained(
    client: TaskClient, pool: WorkerPoolServiceAsyncStub, worker: ScriptedWorker
) -> None:
    drained = (await pool.DrainWorker(pb.DrainWorkerRequest(worker_id="w1"))).worker
    assert (drained.worker_id, drained.draining, drained.running) == ("w1", True, False)
    await worker.read("drain")
    await client.submit()
    assert (await worker.heartbeat(0)).desired_state.drain
    answer = (await pool.UndrainWorker(pb.UndrainWorkerRequest(worker_id="w1"))).worker
    assert (answer.draining, answer.running, answer.connected) == (False, True, True)
    assert len(await worker.take()) == 1
    assert not (await worker.heartbeat(2)).desired_state.drain


async def test_a_stopping_worker_is_shown_as_draining_whatever_its_desired_state(
    pool: WorkerPoolServiceAsyncStub, channel: aio.Channel
) -> None:
    async with ScriptedWorker(channel) as worker:
        await worker.write(worker_pb.LeaseRequest(draining=worker_pb.Draining()))
        await worker.heartbeat(0)
        assert (await pool.UndrainWorker(pb.UndrainWorkerRequest(worker_id="w1"))).worker.draining
        assert (await shown(pool)).connected
    await wait_for(pool, lambda answer: not answer.workers[0].connected, "the worker is shown as disconnected")
    assert (await shown(pool)).draining, "it said so last"


async def test_resize_worker_is_sent_to_the_worker(
    channel: aio.Channel, pool: WorkerPoolServiceAsyncStub, worker: ScriptedWorker
) -> None:
    answer = await Caller(channel)("WorkerPoolService/ResizeWorker", worker_id="w1", slots=7)
    assert (answer["worker"]["worker_id"], answer["worker"]["slots"], answer["worker"]["running"]) == ("w1", 7, True)
    assert (await worker.read("resize")).resize.slots == 7
    assert (await worker.heartbeat(3)).desired_state.slots == 7
    assert (await shown(pool)).slots == 7


async def test_a_resize_holds_until_the_worker_s_process_ends(
    channel: aio.Channel, pool: WorkerPoolServiceAsyncStub
) -> None:
    async with ScriptedWorker(channel, hello(process_id="p1")) as worker:
        assert not worker.welcome.desired_state.HasField("slots")
    await pool.ResizeWorker(pb.ResizeWorkerRequest(worker_id="w1", slots=1))  # while it is away
    async with ScriptedWorker(channel, hello(process_id="p1", session_number=2)) as worker:
        assert worker.welcome.desired_state.slots == 1
    async with ScriptedWorker(channel, hello(process_id="p2", session_number=3)) as worker:
        assert not worker.welcome.desired_state.HasField("slots")
        assert not (await worker.heartbeat(3)).desired_state.HasField("slots")
    assert (await shown(pool)).slots == 3


async def test_a_worker_of_another_replica_is_resized_and_drained(
    worker: ScriptedWorker, replica: Replica, db_url: str
) -> None:
    async with serving_beside(db_url) as other, channel_to(other) as channel:
        caller = Caller(channel)
        answer = await caller("WorkerPoolService/ResizeWorker", worker_id="w1", slots=2)
        assert answer["worker"]["scheduler_id"] == replica.scheduler_id
        assert (await worker.read("resize")).resize.slots == 2
        await caller("WorkerPoolService/DrainWorker", worker_id="w1")
        await worker.read("drain")


# What tests/api calls: requests that are answered, and those that are refused.
POOL_COUNTS = {"num_workers": lambda count: count >= 1, "active_workers": int, "total_queue_size": str}
GOOD = [
    Good(
        "GetWorkerPool",
        {"page_size": The("workers", "all")},
        {
            **POOL_COUNTS,
            "workers": lambda workers: (
                {"running", "slots", "busy_slots", "queue_size", "draining"} <= workers[0].keys()
            ),
            "next_page_token": "",
        },
    ),
    Good(
        "GetWorkerPool",
        {"page_size": The("workers", "one")},
        {**POOL_COUNTS, "workers": [{"worker_id": str}], "next_page_token": str},
    ),
    Good(
        "DrainWorker",
        of(worker="connected"),
        {"worker": {**of(worker="connected"), "draining": True, "running": False}},
    ),
    Good(
        "ResizeWorker",
        {**of(worker="connected"), "slots": 1_000},
        {"worker": {**of(worker="connected"), "slots": 1_000, "connect_time": str}},
    ),
    Good(
        "UndrainWorker",
        of(worker="draining"),
        {"worker": {**of(worker="connected"), "draining": False, "running": True, "connected": True}},
    ),
]
BAD = [
    Bad("GetWorkerPool", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("ResizeWorker", {"worker_id": " ", "slots": 1_001}, fields=("worker_id", "slots")),
    Bad("ResizeWorker", of(worker="connected"), fields=("slots",)),
    missing("ResizeWorker", {"worker_id": "nobody", "slots": 1}, "worker", "nobody"),
]
