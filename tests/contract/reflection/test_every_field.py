"""Each field of each request, spoiled: the refusal names it, and nothing is ever a defect of the scheduler."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc import StatusCode, aio
from grpc_status import rpc_status

from contentgen.v1.content_service_pb2 import Content, PublishPoolEntry
from contentgen.v1.task_pb2 import Task
from scheduler_svc.domain.content import ContentEdit
from scheduler_svc.tasks.messages import EDITABLE
from tests.contract.reflected import Reflected
from tests.contract.reflection import other_cases, spoiled, task_cases
from tests.contract.reflection.cases import Good, differences, resolved
from tests.contract.reflection.spoiled import Leaf, is_text, leaves, named
from tests.contract.reflection.world import World
from tests.harness.rpc_errors import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

FULLEST = {
    case.rpc: case
    for case in sorted([*task_cases.GOOD, *other_cases.GOOD], key=lambda case: len(str(case.request)))
    if not case.polled
}
"""Of each RPC the good request that says most."""

IDS_OF_NOTHING = {
    **{f"contentgen.v1.TaskService/{name}": "task_id" for name in task_cases.BY_TASK_ID},
    "contentgen.v1.TaskService/UpdateTask": "task.task_id",
    "contentgen.v1.TaskService/WatchTasks": "task_ids[0]",
}
"""A task's id is opaque: what can't be one is NOT_FOUND, whatever it holds."""
MISSING = ("contentgen.v1.TaskService/BatchGetTasks", "task_ids[0]")
"""And here that is no error."""
CHANGEABLE = {
    *(f"entry.{name}" for name in ("content_id", "priority", "schedule_time")),
    *(f"content.{name}" for name in ("content_id", *ContentEdit._fields)),
}
FIXED = set(Task.DESCRIPTOR.fields_by_name) - {"task_id", *EDITABLE}
"""Fields of a task that an update ignores."""
IGNORED = {
    "account.create_time",
    *(f"task.{leaf.path}" for leaf in leaves(Task.DESCRIPTOR) if re.split(r"\W", leaf.path)[0] in FIXED),
    *(f"entry.{field.name}" for field in PublishPoolEntry.DESCRIPTOR.fields),
    *(f"content.{field.name}" for field in Content.DESCRIPTOR.fields),
    *(f"schedule.{name}" for name in ("account_id", "next_run_times", "last_run_time", "last_task_id")),
    *(f"schedule.{name}" for name in ("create_time", "last_error")),
    *(f"webhook.{name}" for name in ("account_id", "last_error", "create_time", "previous_secret_expire_time")),
} - CHANGEABLE
"""Fields of a resource that no mask can name; of lists and maps with all that is in them."""

SCORES = {"min_quality_score"}
"""Numbers on a scale that only the CLI knows."""
OUT_OF_RANGE = [-1.0, 0.0, 1_000.1]

EVERY = pytest.mark.parametrize("rpc", FULLEST, ids=lambda rpc: rpc.rpartition("/")[2])


async def fullest(world: World, rpc: str) -> Message:
    (fields,) = await resolved(world, FULLEST[rpc].request)
    return await world.reflected.request(rpc, fields)


async def fields_of(reflected: Reflected, rpc: str) -> list[Leaf]:
    fields = leaves((await reflected.method(rpc)).input_type)
    return [leaf for leaf in fields if re.split(r"[\[ ]", leaf.path)[0] not in IGNORED]


def bad_values(leaf: Leaf) -> Sequence[Any]:
    """What this field may not hold."""
    if leaf.is_a("google.protobuf.Duration"):
        return spoiled.BAD_DURATIONS
    if leaf.is_a("google.protobuf.Timestamp"):
        return spoiled.BAD_TIMES
    if leaf.descriptor.type in spoiled.INTEGERS:
        return spoiled.bad_numbers(leaf)
    if leaf.descriptor.type == FieldDescriptor.TYPE_DOUBLE:
        return [math.nan, math.inf, -math.inf, *(OUT_OF_RANGE if leaf.path not in SCORES else [])]
    if leaf.descriptor.type == FieldDescriptor.TYPE_ENUM:
        return [99, -1, 2**31 - 1]
    return [spoiled.NUL] if is_text(leaf) else []


def spoil(request: Message, leaf: Leaf, value: Any) -> bytes:
    message = type(request)()
    message.CopyFrom(request)
    leaf.set(message, value)
    return message.SerializeToString()


async def verdict(reflected: Reflected, rpc: str, data: bytes) -> tuple[str, list[str]]:
    """The reason of the refusal and the fields that it names; empty where the request is answered."""
    try:
        await reflected.send(rpc, data)
    except aio.AioRpcError as error:
        return _told(error)
    return "", []


def _told(error: aio.AioRpcError) -> tuple[str, list[str]]:
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type] # its types know no aio
    assert status is not None, f"refused without details: {error.details()}"
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        for part in (info, bad):
            detail.Unpack(part)
    return info.reason, [violation.field for violation in bad.field_violations]


async def unnamed(reflected: Reflected, rpc: str, request: Message, leaf: Leaf, value: Any) -> str:
    """What happens, in words, if this is not refused as it should be."""
    reason, fields = await verdict(reflected, rpc, spoil(request, leaf, value))
    if (IDS_OF_NOTHING.get(rpc) == leaf.path and reason == "RESOURCE_NOT_FOUND") or (
        reason == "INVALID_ARGUMENT" and named(leaf, value) in fields
    ):
        return ""
    return f"{leaf.path} = {value!r}: {reason or 'answered'} {fields}"


@EVERY
async def test_invalid_bytes_are_refused(reflected: Reflected, rpc: str) -> None:
    for data in (b"\xff\xff\xff", b"\x00", b"\x0f"):
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await reflected.send(rpc, data)
        assert refusal.fields == [""]


@EVERY
async def test_a_request_with_a_spoiled_field_is_refused_and_unknown_fields_are_ignored(world: World, rpc: str) -> None:
    """Of texts, numbers, enums, durations and times; at last a good request with a field of a newer client."""
    case: Good = FULLEST[rpc]
    fields, shape = await resolved(world, case.request, case.shape)
    request = await world.reflected.request(rpc, fields)
    for leaf in await fields_of(world.reflected, rpc):
        if is_text(leaf):
            marked = spoil(request, leaf, spoiled.MARK)
            data = marked.replace(spoiled.MARK.encode(), spoiled.NOT_UTF8)
            assert data != marked
            with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
                await world.reflected.send(rpc, data)
        if (rpc, leaf.path) != MISSING:
            for value in bad_values(leaf):
                assert await unnamed(world.reflected, rpc, request, leaf, value) == ""
    answer = await world.reflected.send(rpc, request.SerializeToString() + b"\xfa\xff\x7f\x03new")
    assert differences(shape, answer) == []


@EVERY
async def test_the_largest_numbers_cause_no_defect(world: World, rpc: str) -> None:
    numbers = [leaf for leaf in await fields_of(world.reflected, rpc) if leaf.descriptor.type in spoiled.INTEGERS]
    if not numbers:
        return
    request = await fullest(world, rpc)
    for leaf in numbers:
        reason, _ = await verdict(world.reflected, rpc, spoil(request, leaf, spoiled.extreme(leaf)))
        assert reason in {"", "RESOURCE_NOT_FOUND", "INVALID_ARGUMENT", "LEASE_LOST"}, leaf.path


async def test_every_kind_of_field_was_tested(reflected: Reflected) -> None:
    """Else the tests above would find nothing to spoil, and say nothing."""
    fields = [leaf for rpc in FULLEST for leaf in leaves((await reflected.method(rpc)).input_type)]
    paths = {leaf.path for leaf in fields}
    assert {"account_id", "requests[0].labels key", "requests[0].timeout", "statuses[0]", "account.weight"} <= paths
    assert {"update_mask.paths[0]", "schedule_time", "lease", "decision", "claim_id", "slots"} <= paths


async def test_an_id_of_no_task_is_missing_whatever_it_holds(reflected: Reflected) -> None:
    answer = await reflected.call(MISSING[0], task_ids=[spoiled.NUL])
    assert answer == {"missing_task_ids": [spoiled.NUL]}
