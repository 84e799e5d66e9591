"""TailAttempt: output of a running attempt, from a worker on one replica to a caller on another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from grpc import StatusCode, aio

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.leases import service as worker_service
from scheduler_svc.replica.replica import Replica
from scheduler_svc.tasks import tails
from tests.harness.client import refused
from tests.harness.maker import TaskClient, batch, new_account
from tests.harness.replicas import channel_to, serving_all
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = pytest.mark.contract


class Reader:
    """A caller's stream."""

    def __init__(self, stub: TaskServiceAsyncStub, **request: Any) -> None:
        self.call = stub.TailAttempt(pb.TailAttemptRequest(**request), timeout=PATIENCE_S)
        self.seen: list[pb.TailAttemptResponse] = []

    async def next(self) -> pb.TailAttemptResponse:
        answer = await self.call.read()
        assert isinstance(answer, pb.TailAttemptResponse), "the stream has ended"
        self.seen.append(answer)
        return answer

    async def ended(self) -> None:
        assert await self.call.read() is aio.EOF
        assert await self.call.code() is StatusCode.OK


@asynccontextmanager
async def asked(worker: ScriptedWorker, stub: TaskServiceAsyncStub, task_id: str) -> AsyncIterator[tuple[Reader, str]]:
    """Yields a caller's stream, and the id of the tail that the worker is asked for."""
    reader = Reader(stub, task_id=task_id)
    try:
        first = await reader.next()
        assert (first.output, first.attempt) == ("", 1)
        yield reader, (await worker.read("tail")).tail.tail_id
    finally:
        reader.call.cancel()


async def print_out(worker: ScriptedWorker, tail_id: str, text: str = "", offset: int = 0, **fields: Any) -> None:
    """Sends an output, and waits until it is received."""
    output = worker_pb.Output(tail_id=tail_id, offset=offset, size=len(text.encode()), text=text, **fields)
    await worker.write(worker_pb.LeaseRequest(output=output))
    await worker.read("output_received")


@pytest.fixture
async def replicas(db_url: str) -> AsyncIterator[list[Replica]]:
    async with serving_all(db_url, 2) as replicas:
        yield replicas


@pytest.mark.parametrize("of_caller", [0, 1], ids=["the worker's replica", "another replica"])
async def test_output_reaches_a_caller_until_the_attempt_has_ended(replicas: list[Replica], of_caller: int) -> None:
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_to(replica)) for replica in replicas]
        worker = await stack.enter_async_context(ScriptedWorker(channels[0]))
        (task_id,) = await batch(TaskServiceAsyncStub(channels[0]), await new_account(channels[0]), 1)
        lease = await worker.run()
        stub = TaskServiceAsyncStub(channels[of_caller])
        reader, tail_id = await stack.enter_async_context(asked(worker, stub, task_id))

        await print_out(worker, tail_id, "half of it, 一半\n")
        await print_out(worker, tail_id, "a warning", 100, stderr=True)
        await print_out(worker, tail_id, "late", 3, stderr=True)
        first, warning = await reader.next(), await reader.next()
        assert (first.output, first.stderr, first.left_out_bytes) == ("half of it, 一半\n", False, 0)
        assert (warning.output, warning.stderr, warning.left_out_bytes) == ("a warning", True, 100)

        again = Reader(stub, task_id=task_id, resume_token=warning.resume_token)
        await again.next()
        order = (await worker.read("tail")).tail
        assert (order.lease_id, order.stdout_offset, order.stderr_offset) == (lease.lease_id, 19, 109)
        await print_out(worker, order.tail_id, "more", 19, ended=True)
        assert (await again.next()).output == "more"

        await print_out(worker, tail_id, "more", 19, ended=True)
        await worker.complete(lease)
        assert (await reader.next()).output == "more"
        await reader.ended()
        await again.ended()
        resumed = Reader(stub, task_id=task_id, resume_token=warning.resume_token)
        await resumed.ended()
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await Reader(stub, task_id=task_id).next()
        assert refusal.metadata == {"current_state": "completed", "required_state": "submitted,processing"}
        assert [replica._tails._open for replica in replicas] == [{}, {}]


@pytest.mark.usefixtures("shared_scheduler")
class TestOneReplica:
    async def test_a_silent_worker_is_told_of_and_the_stream_ends_with_its_attempt(
        self, client: TaskClient, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such as one of an older version, which ignores the order."""
        monkeypatch.setattr(tails, "SILENCE_TIMEOUT", 0.05)
        monkeypatch.setattr(tails, "LAST_OUTPUT_TIMEOUT", 0.05)
        monkeypatch.setattr(tails, "RENEW_INTERVAL", 0.1)
        task_id = (await client.submit()).task_id
        lease = await worker.run()
        async with asked(worker, client.stub, task_id) as (reader, _):
            assert (await reader.next()).worker_silent
            await worker.fail(lease)
            await reader.ended()

    async def test_a_tail_is_renewed_and_output_of_no_tail_is_nobody_s(
        self, client: TaskClient, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tails, "RENEW_INTERVAL", 0.05)
        task_id = (await client.submit()).task_id
        await worker.run()
        async with asked(worker, client.stub, task_id) as (reader, tail_id):
            await print_out(worker, "f" * 32, "for nobody")
            for i in range(2):
                await print_out(worker, tail_id, "x", i)
            assert [(await reader.next()).output for _ in range(2)] == ["x", "x"]
            renewed = (await worker.read("tail")).tail
            while renewed.stdout_offset < 2:
                renewed = (await worker.read("tail")).tail
            assert (renewed.tail_id, renewed.stdout_offset) == (tail_id, 2)
            monkeypatch.setattr(worker_service, "OUTPUT_INTERVAL", 3_600.0)
            for _ in range(2):
                await worker.write(worker_pb.LeaseRequest(output=worker_pb.Output(tail_id=tail_id)))
            with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
                await worker.read("assignment")

    @pytest.mark.parametrize(
        "bad", [{"text": "\1" * 1_001}, {"text": "😀" * 1_500}, {"size": -1}, {"offset": -1}, {"tail_id": ""}]
    )
    async def test_output_that_is_out_of_bounds_ends_the_stream(
        self, worker: ScriptedWorker, bad: dict[str, Any]
    ) -> None:
        await worker.heartbeat(0)
        output = worker_pb.Output(**{"tail_id": "t", **bad})
        await worker.write(worker_pb.LeaseRequest(output=output))
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
            await worker.read("output_received")


async def test_a_replica_that_drains_ends_its_tails(db_url: str) -> None:
    async with serving_all(db_url, 1) as (replica,), channel_to(replica) as channel, ScriptedWorker(channel) as worker:
        stub = TaskServiceAsyncStub(channel)
        (task_id,) = await batch(stub, await new_account(channel), 1)
        await worker.run()
        async with asked(worker, stub, task_id) as (reader, _):
            replica._tails.close()
            with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
                await reader.next()
            await wait_until_async(lambda: not replica._tails._open, within=PATIENCE_S, what="it is gone")
