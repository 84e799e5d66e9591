"""Each RPC that the server's reflection names, with good requests and bad ones, and no code of ours in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode

from tests.contract.reflected import Reflected
from tests.contract.reflection import other_cases, task_cases
from tests.contract.reflection.cases import Bad, Good, differences, name_of, resolved
from tests.contract.reflection.world import LEASE, World
from tests.harness.rpc_errors import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGE = "contentgen.v1"
GOOD: list[Good] = [*task_cases.GOOD, *other_cases.GOOD]
BAD: list[Bad] = [*task_cases.BAD, *other_cases.BAD]


ALWAYS_GOOD = {
    f"{PACKAGE}.SystemService/GetSystem",
    f"{PACKAGE}.SystemService/GetCaller",
    f"{PACKAGE}.WorkerPoolService/GetDispatchStatus",
}
"""They have nothing that could be wrong, but bytes that are no message."""


async def test_the_tables_leave_no_rpc_out(reflected: Reflected) -> None:
    served = set(await reflected.rpcs(PACKAGE))
    assert served - {LEASE} == {case.rpc for case in GOOD}, "Lease has a module of its own"
    assert served - {LEASE} - ALWAYS_GOOD == {case.rpc for case in BAD}


@pytest.mark.parametrize("case", GOOD, ids=name_of)
async def test_a_good_request_is_answered(world: World, case: Good) -> None:
    fields, shape = await resolved(world, case.request, case.shape)
    request = await world.reflected.request(case.rpc, fields)
    call = world.reflected.send(case.rpc, request.SerializeToString())
    answer: dict[str, Any]
    if case.polled:
        answer, _ = await asyncio.gather(call, world.worker.answer_poll())
    else:
        answer = await call
    assert answer.keys() == shape.keys()
    assert differences(shape, answer) == []


@pytest.mark.parametrize("case", BAD, ids=name_of)
async def test_a_bad_request_is_refused(world: World, case: Bad) -> None:
    fields, metadata = await resolved(world, case.request, case.metadata)
    request = await world.reflected.request(case.rpc, fields)
    with refused(case.code, case.reason) as refusal:
        await world.reflected.send(case.rpc, request.SerializeToString())
    assert tuple(refusal.fields) == case.fields
    assert refusal.metadata == metadata
    assert refusal.preconditions == ([case.reason] if case.code is StatusCode.FAILED_PRECONDITION else [])
    assert refusal.message


async def test_an_unknown_rpc_is_unimplemented(reflected: Reflected) -> None:
    bare: Any = reflected.channel.unary_unary(f"/{PACKAGE}.TaskService/NoSuchTask")
    with refused(StatusCode.UNIMPLEMENTED):
        await bare(b"", timeout=10)
