"""Each field of each request, spoiled: the refusal names it, and nothing is ever a defect."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from grpc import StatusCode, aio

from contentgen.rpcs import METHODS
from contentgen.v1.content_service_pb2 import Content, PublishPoolEntry
from contentgen.v1.task_pb2 import Task
from scheduler_svc.domain.content import ContentEdit
from scheduler_svc.tasks.messages import EDITABLE
from tests.api.cases import Good, differences, resolved, taking
from tests.api.catalogue import GOOD
from tests.api.wire import NAMES, request_of, send
from tests.api.world import World
from tests.harness.client import refusal_of, refused

pytestmark = [pytest.mark.contract, pytest.mark.asyncio(loop_scope="module")]


# Requests with one field spoiled, made from their descriptors: a new field is spoiled too without being named.


MARK = "MARKED-TEXT"
NOT_UTF8 = b"\xff" * len(MARK)
NUL = "a\0b"
INTEGERS = {FieldDescriptor.TYPE_INT32: 32, FieldDescriptor.TYPE_INT64: 64}
BAD_DURATIONS = [(-1, 0), (0, -1), (0, 1_000_000_000), (315_576_000_001, 0), (1, -1)]
"""Seconds and nanos."""
BAD_TIMES = [(253_402_300_800, 0), (-62_135_596_801, 0), (0, -1), (0, 1_000_000_000)]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field within a request."""

    way: tuple[FieldDescriptor, ...]
    """The fields that lead to it, and itself."""
    is_key: bool = False
    """Whether it is the key of a map, and not the value."""

    @property
    def descriptor(self) -> FieldDescriptor:
        return self.way[-1]

    @property
    def path(self) -> str:
        names = (f"{field.name}[0]" if field.is_repeated and not _is_map(field) else field.name for field in self.way)
        return ".".join(names) + " key" * self.is_key

    def set(self, request: Message, value: Any) -> None:
        """Sets it in a request; where it is repeated, its first."""
        *outer, field = self.way
        holder: Any = request
        for within in outer:
            holder = getattr(holder, within.name)
            if within.is_repeated:
                holder = holder[0] if holder else holder.add()
        present = getattr(holder, field.name)
        if _is_map(field):
            present.clear()
            present.update({value: "v"} if self.is_key else {"k": value})
        elif field.message_type:
            present.seconds, present.nanos = value
        elif field.is_repeated:
            present[:1] = [value]
        else:
            setattr(holder, field.name, value)


def leaves(descriptor: Descriptor, *way: FieldDescriptor) -> Iterator[Leaf]:
    """Every field of a request but booleans, those of messages within it included; time and duration are leaves."""
    for field in descriptor.fields:
        if _is_map(field):
            yield Leaf((*way, field))
            yield Leaf((*way, field), is_key=True)
        elif field.message_type and _message_of(field) not in {"google.protobuf.Duration", "google.protobuf.Timestamp"}:
            yield from leaves(field.message_type, *way, field)
        elif field.type != FieldDescriptor.TYPE_BOOL:
            yield Leaf((*way, field))


def is_text(leaf: Leaf) -> bool:
    """Also a map's, whose keys and values are texts here."""
    return _is_map(leaf.descriptor) or leaf.descriptor.type == FieldDescriptor.TYPE_STRING


def _message_of(field: FieldDescriptor) -> str:
    return field.message_type.full_name if field.message_type else ""


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def named(leaf: Leaf, value: Any) -> str:
    """The path by which a violation names the leaf."""
    if leaf.is_key:
        key = str(value).replace("\0", "\\0")
        return f'{leaf.path.removesuffix(" key")}["{key}"]'
    return f'{leaf.path}["k"]' if _is_map(leaf.descriptor) else leaf.path


# Each field of each request, spoiled: the refusal names it, and nothing is ever a defect of the scheduler.


FULLEST = {case.rpc: case for case in sorted(GOOD, key=lambda case: len(str(case.request))) if not case.polled}
"""Of each RPC the good request that says most."""
IDS_OF_NOTHING = {
    **dict.fromkeys(taking("task_id"), "task_id"),
    "UpdateTask": "task.task_id",
    "WatchTasks": "task_ids[0]",
}
"""A task's id is opaque: what can't be one is NOT_FOUND, whatever it holds."""
MISSING = ("BatchGetTasks", "task_ids[0]")
"""And here that is no error."""
CHANGEABLE = {
    *(f"entry.{name}" for name in ("content_id", "priority", "schedule_time")),
    *(f"content.{name}" for name in ("content_id", *ContentEdit._fields)),
}
FIXED = set(Task.DESCRIPTOR.fields_by_name) - {"task_id", *EDITABLE}
"""Fields of a task that an update ignores."""
IGNORED = {
    "account.create_time",
    "account.month_cost",
    *(f"task.{leaf.path}" for leaf in leaves(Task.DESCRIPTOR) if re.split(r"\W", leaf.path)[0] in FIXED),
    *(f"entry.{field.name}" for field in PublishPoolEntry.DESCRIPTOR.fields),
    *(f"content.{field.name}" for field in Content.DESCRIPTOR.fields),
    *(f"schedule.{name}" for name in ("account_id", "next_run_times", "last_run_time", "last_task_id")),
    *(f"schedule.{name}" for name in ("create_time", "last_error", "missed_runs")),
    *(f"webhook.{name}" for name in ("account_id", "last_error", "create_time", "previous_secret_expire_time")),
    *(f"channel.{name}" for name in ("destination", "last_error", "create_time")),
} - CHANGEABLE
"""Fields of a resource that no mask can name; of lists and maps with all that is in them."""
SCORES = {"min_quality_score"}
"""Numbers on a scale that only the CLI knows."""
EVERY = pytest.mark.parametrize("rpc", FULLEST)


def leaves_of(rpc: str) -> Iterator[Leaf]:
    return leaves(METHODS[NAMES[rpc]].input_type)


def checked_leaves_of(rpc: str) -> list[Leaf]:
    return [leaf for leaf in leaves_of(rpc) if re.split(r"[\[ ]", leaf.path)[0] not in IGNORED]


def _out_of_range(leaf: Leaf) -> list[float]:
    return [-1.0, 1.1e12] if leaf.path.endswith("max_cost_per_month") else [-1.0, 0.0, 1_000.1]


def bad_values(leaf: Leaf) -> Sequence[Any]:
    """What this field may not hold."""
    if _message_of(leaf.descriptor) == "google.protobuf.Duration":
        return BAD_DURATIONS
    if _message_of(leaf.descriptor) == "google.protobuf.Timestamp":
        return BAD_TIMES
    if leaf.descriptor.type in INTEGERS:
        return [-1, -(1 << (INTEGERS[leaf.descriptor.type] - 1))]
    if leaf.descriptor.type == FieldDescriptor.TYPE_DOUBLE:
        return [
            math.nan,
            math.inf,
            -math.inf,
            *(_out_of_range(leaf) if leaf.path not in SCORES else []),
        ]
    if leaf.descriptor.type == FieldDescriptor.TYPE_ENUM:
        return [99, -1, 2**31 - 1]
    return [NUL] if is_text(leaf) else []


def spoil(request: Message, leaf: Leaf, value: Any) -> bytes:
    message = type(request)()
    message.CopyFrom(request)
    leaf.set(message, value)
    return message.SerializeToString()


async def verdict(channel: aio.Channel, rpc: str, data: bytes) -> tuple[str, list[str]]:
    """The reason of the refusal and the fields that it names; empty where the request is answered."""
    try:
        await send(channel, rpc, data)
    except aio.AioRpcError as error:
        refusal = refusal_of(error)
        return refusal.reason or f"refused without details: {refusal.message}", refusal.fields
    return "", []


async def unnamed(channel: aio.Channel, rpc: str, request: Message, leaf: Leaf, value: Any) -> str:
    """What happens, in words, if this is not refused as it should be."""
    reason, fields = await verdict(channel, rpc, spoil(request, leaf, value))
    if (IDS_OF_NOTHING.get(rpc) == leaf.path and reason == "RESOURCE_NOT_FOUND") or (
        reason == "INVALID_ARGUMENT" and named(leaf, value) in fields
    ):
        return ""
    return f"{leaf.path} = {value!r}: {reason or 'answered'} {fields}"


@EVERY
async def test_invalid_bytes_are_refused(channel: aio.Channel, rpc: str) -> None:
    for data in (b"\xff\xff\xff", b"\x00", b"\x0f"):
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await send(channel, rpc, data)
        assert refusal.fields == [""]


@EVERY
async def test_a_request_with_a_spoiled_field_is_refused_and_unknown_fields_are_ignored(world: World, rpc: str) -> None:
    """Of texts, numbers, enums, durations and times; at last a good request with a field of a newer client."""
    case: Good = FULLEST[rpc]
    fields, shape = await resolved(world, case.request, case.shape)
    request = request_of(rpc, fields)
    for leaf in checked_leaves_of(rpc):
        if is_text(leaf):
            marked = spoil(request, leaf, MARK)
            data = marked.replace(MARK.encode(), NOT_UTF8)
            assert data != marked
            with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
                await send(world.channel, rpc, data)
        if (rpc, leaf.path) != MISSING:
            for value in bad_values(leaf):
                assert await unnamed(world.channel, rpc, request, leaf, value) == ""
    answer = await send(world.channel, rpc, request.SerializeToString() + b"\xfa\xff\x7f\x03new")
    assert differences(shape, answer) == []


@EVERY
async def test_the_largest_numbers_cause_no_defect(world: World, rpc: str) -> None:
    numbers = [leaf for leaf in checked_leaves_of(rpc) if leaf.descriptor.type in INTEGERS]
    if not numbers:
        return
    (fields,) = await resolved(world, FULLEST[rpc].request)
    request = request_of(rpc, fields)
    for leaf in numbers:
        largest = (1 << (INTEGERS[leaf.descriptor.type] - 1)) - 1
        reason, _ = await verdict(world.channel, rpc, spoil(request, leaf, largest))
        assert reason in {"", "RESOURCE_NOT_FOUND", "INVALID_ARGUMENT", "LEASE_LOST"}, leaf.path


async def test_every_kind_of_field_was_tested() -> None:
    """Else the tests above would find nothing to spoil, and say nothing."""
    paths = {leaf.path for rpc in FULLEST for leaf in leaves_of(rpc)}
    assert {"account_id", "requests[0].labels key", "requests[0].timeout", "statuses[0]", "account.weight"} <= paths
    assert {"update_mask.paths[0]", "schedule_time", "lease", "decision", "claim_id", "slots"} <= paths


async def test_an_id_of_no_task_is_missing_whatever_it_holds(world: World) -> None:
    answer = await world.call(MISSING[0], task_ids=[NUL])
    assert answer == {"missing_task_ids": [NUL]}
