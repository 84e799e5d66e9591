"""Each RPC of the contract, the protos that reflection tells, and submits with request ids."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest
from google.protobuf.descriptor_database import DescriptorDatabase
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc import StatusCode, aio
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from hypothesis import given, settings
from hypothesis import strategies as st

from contentgen.rpcs import METHODS, SERVICES, path_of
from tests.api.cases import Bad, Good, differences, name_of, resolved
from tests.api.catalogue import BAD, GOOD
from tests.api.wire import NAMES
from tests.api.world import World
from tests.harness.client import refused
from tests.harness.waiting import PATIENCE_S

pytestmark = [pytest.mark.contract, pytest.mark.asyncio(loop_scope="module")]


# Each RPC of the contract, with good requests and bad ones, and no client of ours in between.


async def test_the_tables_leave_no_rpc_out() -> None:
    """Lease has a module of its own, RevokeToken needs a tokens file. A request without fields has nothing wrong but
    bytes that are no message.
    """
    assert NAMES.keys() - {"Lease", "RevokeToken"} == {case.rpc for case in GOOD}, (
        "each needs a row in `GOOD` of the file that tests it"
    )
    with_fields = {method.name for method in METHODS.values() if method.input_type.fields}
    assert with_fields - {"Lease"} == {case.rpc for case in BAD}, "each needs a row in `BAD` there"


@pytest.mark.parametrize("service", [service.full_name for service in SERVICES.values()])
async def test_reflection_tells_a_service_s_protos(channel: aio.Channel, service: str) -> None:
    """All that a client needs which has only the address: the file of the service, and those that it imports."""
    stub: Any = ServerReflectionStub(channel)  # type: ignore[arg-type] # its types know no aio
    request = ServerReflectionRequest(file_containing_symbol=service)
    async with asyncio.timeout(PATIENCE_S):
        answer = await stub.ServerReflectionInfo(iter([request])).read()
    reflected = DescriptorDatabase()
    for file in map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto):
        assert file == FileDescriptorProto.FromString(Default().FindFileByName(file.name).serialized_pb)
        reflected.Add(file)
    pool = DescriptorPool(reflected)  # which raises for a file that is missing
    assert set(pool.FindServiceByName(service).methods_by_name) == set(
        Default().FindServiceByName(service).methods_by_name
    )


@pytest.mark.parametrize("case", GOOD, ids=name_of)
async def test_a_good_request_is_answered(world: World, case: Good) -> None:
    fields, shape = await resolved(world, case.request, case.shape)
    polls = [world.answer_poll()] if case.polled else []
    answer, *_ = await asyncio.gather(world.answer(case.rpc, **fields), *polls)
    assert answer.keys() - {case.sometimes} == shape.keys()
    assert differences(shape, answer) == []


@pytest.mark.parametrize("case", BAD, ids=name_of)
async def test_a_bad_request_is_refused(world: World, case: Bad) -> None:
    fields, metadata = await resolved(world, case.request, case.metadata)
    with refused(case.code, case.reason) as refusal:
        await world.answer(case.rpc, **fields)
    assert tuple(refusal.fields) == case.fields
    assert refusal.metadata == metadata
    assert refusal.preconditions == ([case.reason] if case.code is StatusCode.FAILED_PRECONDITION else [])
    assert refusal.message


async def test_an_unknown_rpc_is_unimplemented(channel: aio.Channel) -> None:
    bare: Any = channel.unary_unary(path_of("TaskService/NoSuchTask"))
    with refused(StatusCode.UNIMPLEMENTED):
        await bare(b"", timeout=10)


# Submits with request ids in any order, at once, in batches: each id makes one task, and a batch is all or none.


EXAMPLES = settings(max_examples=20)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One submit: its id (empty: none), and which of two payloads."""

    request_id: str
    payload: str


SUBMITS = st.builds(Wanted, st.sampled_from(["a", "b", "c", ""]), st.sampled_from(["x", "x", "x", "y"]))
BATCHES = st.lists(st.lists(SUBMITS, min_size=1, max_size=4), min_size=1, max_size=8)
"""Each is one call: a batch, or where it holds one submit, a single one; several batches make a round."""
ROUNDS = st.lists(BATCHES, min_size=1, max_size=3)
Answer = list[str] | aio.AioRpcError
"""The ids of the tasks, or why there are none."""


async def submit(world: World, batch: list[Wanted]) -> Answer:
    requests: list[dict[str, Any]] = [
        {"account_id": world.account_id, "topic": wanted.payload, "request_id": wanted.request_id} for wanted in batch
    ]
    try:
        if len(batch) == 1:
            return [(await world.call("SubmitTask", **requests[0]))["task"]["task_id"]]
        answer = await world.call("BatchSubmitTasks", requests=requests)
    except aio.AioRpcError as error:
        return error
    return [task["task_id"] for task in answer["tasks"]]


def contradicts_itself(batch: list[Wanted]) -> bool:
    named = {wanted for wanted in batch if wanted.request_id}
    return len({wanted.request_id for wanted in named}) < len(named)


async def stored(world: World) -> dict[str, Wanted]:
    """The account's tasks by id, as they were submitted."""
    listed = await world.call("ListTasks", account_id=world.account_id, page_size=1_000)
    return {task["task_id"]: Wanted(task.get("request_id", ""), task["topic"]) for task in listed.get("tasks", ())}


@pytest.mark.parametrize("ended", ["cancelled", "completed", "failed"])
async def test_an_id_outlives_its_task(world: World, ended: str) -> None:
    task = await getattr(world, ended)(request_id="once")
    assert await world.call("CleanupTasks", account_id=world.account_id, days=0) == {
        "deleted_count": 1,
        "matched_count": 1,
        "changed_count": 1,
    }
    request: dict[str, Any] = {"account_id": world.account_id, "topic": "a topic", "request_id": "once"}
    if ended == "failed":
        request["auto_retry"] = False
    repeats = [world.call("SubmitTask", **request) for _ in range(5)]
    ids = [answer["task"]["task_id"] for answer in await asyncio.gather(*repeats)]
    assert [task_id for task_id, _ in groupby(ids)] == [task["task_id"]]
    assert await stored(world) == {}


@EXAMPLES
@given(rounds=ROUNDS)
async def test_each_id_makes_one_task_and_a_refused_batch_none(
    channel: aio.Channel, rounds: list[list[list[Wanted]]]
) -> None:
    answered: list[tuple[list[Wanted], Answer]] = []
    async with World(channel) as world:
        for batches in rounds:  # one round after the other, the batches of a round at once
            answers = await asyncio.gather(*(submit(world, batch) for batch in batches))
            answered += zip(batches, answers, strict=True)
        tasks = await stored(world)
    taken = [(batch, answer) for batch, answer in answered if isinstance(answer, list)]
    refused = [(batch, answer) for batch, answer in answered if isinstance(answer, aio.AioRpcError)]
    given_out = [(wanted, task_id) for batch, ids in taken for wanted, task_id in zip(batch, ids, strict=True)]
    assert {task_id for _, task_id in given_out} == tasks.keys(), "what is stored was answered, and the other way about"
    assert all(tasks[task_id] == wanted for wanted, task_id in given_out), "the answer is the task that was asked for"
    without_id = [task_id for wanted, task_id in given_out if not wanted.request_id]
    assert len(set(without_id)) == len(without_id)
    by_id = {wanted.request_id: wanted.payload for wanted in tasks.values() if wanted.request_id}
    assert len(by_id) == sum(bool(wanted.request_id) for wanted in tasks.values()), "an id makes one task"
    for batch, error in refused:
        clashes = any(
            wanted.request_id and by_id.get(wanted.request_id, wanted.payload) != wanted.payload for wanted in batch
        )
        contradicts = contradicts_itself(batch)
        assert error.code() is (StatusCode.INVALID_ARGUMENT if contradicts else StatusCode.ALREADY_EXISTS)
        assert clashes or contradicts, "only what clashes is refused"
    assert not any(contradicts_itself(batch) for batch, _ in taken)


@pytest.mark.costly("random calls, each made several times", seconds=2)
@EXAMPLES
@given(rounds=ROUNDS)
async def test_the_same_calls_again_create_nothing(channel: aio.Channel, rounds: list[list[list[Wanted]]]) -> None:
    """One after the other, then all at once, then in one batch: with their ids they are safe to repeat."""
    named = [[wanted for wanted in batch if wanted.request_id] for batches in rounds for batch in batches]
    calls = [batch for batch in named if batch]
    async with World(channel) as world:
        first = [await submit(world, batch) for batch in calls]
        tasks = await stored(world)
        again = await asyncio.gather(*(submit(world, batch) for batch in reversed(calls)))
        assert [outcome if isinstance(outcome, list) else outcome.code() for outcome in reversed(again)] == [
            outcome if isinstance(outcome, list) else outcome.code() for outcome in first
        ]
        if tasks:
            together = list(tasks.values())
            assert await submit(world, together * 2) == list(tasks) * 2
        assert await stored(world) == tasks
