"""A lease belongs to the identity that holds it: another worker's token can't renew, report or take it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.client import refused
from tests.harness.credentials import Caller, line, write
from tests.harness.scripted_worker import ScriptedWorker, hello

pytestmark = pytest.mark.contract

COMMITTED, LOST = pb.UPDATE_OUTCOME_COMMITTED, pb.UPDATE_OUTCOME_LEASE_LOST


@pytest.fixture
def replica_settings(tmp_path: Path) -> dict[str, Any]:
    lines = [line("op", "operator"), line("ours", "worker"), line("ours", "worker", token="renewed")]
    return {"tokens_file": write(tmp_path / "tokens", *lines, line("theirs", "worker"))}


@pytest.fixture
async def operator(channel: aio.Channel) -> Caller:
    operator = Caller(channel, "op-token")
    await operator("AccountService/CreateAccount", name="one")
    return operator


@pytest.fixture
async def worker(channel: aio.Channel) -> AsyncIterator[ScriptedWorker]:
    async with ScriptedWorker(channel, token="ours-token") as worker:
        yield worker


@pytest.fixture
async def intruder(channel: aio.Channel) -> AsyncIterator[ScriptedWorker]:
    async with ScriptedWorker(channel, hello(worker_id="w2", folder_id="f2"), token="theirs-token") as intruder:
        yield intruder


@pytest.fixture
async def lease(operator: Caller, worker: ScriptedWorker) -> pb.AssignedLease:
    await operator("TaskService/SubmitTask", account_id=1, topic="a topic")
    return await worker.run()


async def task(operator: Caller) -> dict[str, Any]:
    (fields,) = (await operator("TaskService/ListTasks"))["tasks"]
    assert isinstance(fields, dict)
    return fields


async def test_another_token_can_neither_report_nor_renew_nor_upload(
    operator: Caller, worker: ScriptedWorker, intruder: ScriptedWorker, lease: pb.AssignedLease, channel: aio.Channel
) -> None:
    before = await task(operator)
    progress = pb.LeaseUpdate(progress={"percent": 99})  # type: ignore[arg-type]  # its types know no dicts
    assert await intruder.report(lease, progress=progress.progress) == LOST
    assert await intruder.fail(lease) == LOST
    assert await intruder.report(lease, released=pb.Released(reason=pb.RELEASE_REASON_DRAINING)) == LOST
    assert await intruder.complete(lease, "not theirs to write") == LOST
    assert await task(operator) == before
    with refused(StatusCode.FAILED_PRECONDITION, "LEASE_LOST"):
        await intruder.upload(lease, b"a file")
    assert not await worker.upload(lease, b"a file")
    renewed = ScriptedWorker(channel, token="renewed")
    assert await renewed.upload(lease, b"a file"), "a token of the same name is the same identity"
    intruder.held[lease.lease_id] = lease
    assert list((await intruder.heartbeat(0)).not_renewed_leases) == [lease.lease_id]
    assert await worker.complete(lease) == COMMITTED
    assert await intruder.complete(lease, "not theirs to write") == LOST, "nor is it told that this is committed"


async def test_another_token_cannot_take_the_worker_id_and_one_of_the_same_name_keeps_the_leases(
    channel: aio.Channel, operator: Caller, lease: pb.AssignedLease
) -> None:
    held = [pb.HeldLease(lease_id=lease.lease_id, attempt=lease.attempt)]
    for folder_id in ("f1", "another"):
        greeting = hello(folder_id=folder_id, session_number=9, held_leases=held)
        with refused(StatusCode.ALREADY_EXISTS, "WORKER_ID_IN_USE"):
            async with ScriptedWorker(channel, greeting, token="theirs-token"):
                pass
    async with (
        ScriptedWorker(channel, hello(worker_id="w3", folder_id="f3"), token="ours-token") as colleague,
        ScriptedWorker(channel, hello(session_number=2, held_leases=held), token="renewed") as renewed,
    ):
        assert list(renewed.welcome.keep_leases) == [lease.lease_id]
        assert await renewed.complete(lease) == COMMITTED
        await operator("TaskService/SubmitTask", account_id=1, topic="a topic")
        (another,) = await renewed.take()
        assert await colleague.complete(another) == COMMITTED, "workers of one token may report for each other"
