"""WorkerService.Lease, spoken in plain dicts: good messages and bad ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc import StatusCode, aio

from tests.api.test_every_field import Leaf, bad_values, is_text, leaves_of, named
from tests.api.wire import LeaseStream, identity, lease_stream, request_of
from tests.api.world import World
from tests.harness.client import refused

pytestmark = [pytest.mark.contract, pytest.mark.asyncio(loop_scope="module")]

NO_LEASE = {"lease_id": "lease-0000000000000001-00000001", "attempt": 1}


def hello(**fields: Any) -> dict[str, Any]:
    """A hello with all required fields, and with `fields`."""
    return identity() | fields


@asynccontextmanager
async def welcomed(channel: aio.Channel, **fields: Any) -> AsyncIterator[LeaseStream]:
    """A stream past its welcome."""
    async with lease_stream(channel) as stream:
        await stream.write(hello=hello(**fields))
        assert "welcome" in await stream.read()
        yield stream


async def refusal_of(stream: LeaseStream) -> list[str]:
    """The fields that the refusal names which ends the stream."""
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        while True:
            await stream.read()
    return refusal.fields


async def test_a_hello_is_welcomed(channel: aio.Channel) -> None:
    async with lease_stream(channel) as stream:
        lost = ["no lease", NO_LEASE["lease_id"]]
        held = [NO_LEASE, {"lease_id": "\0", "attempt": -1}]
        await stream.write(hello=hello(labels={"k" * 63: "v" * 255}, held_leases=held, lost_leases=lost))
        welcome = (await stream.read())["welcome"]
    assert (welcome["lease_ttl"], welcome["heartbeat_interval"]) == ("120s", "10s")
    assert (welcome["keep_leases"], welcome["drop_leases"]) == ([], [NO_LEASE["lease_id"], "\0"])
    assert welcome["desired_state"] == {"drain": False}
    assert welcome["scheduler_id"]


async def test_a_task_runs_through_a_stream(world: World) -> None:
    done = await world.completed(requirements="long", labels={"a": "b"}, creator_options={"length": "800"})
    answer = await world.call("GetTask", task_id=done["task_id"])
    assert answer["task"]["status"] == "TASK_STATUS_COMPLETED"
    assert answer["task"]["worker_id"] == world.worker.hello.worker_id


@pytest.mark.parametrize(
    "first",
    [
        {},
        {"heartbeat": {"number": 1}},
        {"report": {"number": 1}},
        {"report_part": {"report_number": 1, "data": "CAE=", "last": True}},
        {"draining": {}},
    ],
    ids=["nothing", "heartbeat", "report", "part of a report", "draining"],
)
async def test_a_stream_without_a_hello_is_refused(channel: aio.Channel, first: dict[str, Any]) -> None:
    async with lease_stream(channel) as stream:
        await stream.write(**first)
        assert await refusal_of(stream) == ["message"]


async def test_an_empty_hello_is_refused_with_all_that_is_required(channel: aio.Channel) -> None:
    async with lease_stream(channel) as stream:
        await stream.write(hello={})
        assert await refusal_of(stream) == ["hello.worker_id", "hello.folder_id", "hello.session_number"]


NAMES_OF_LEASES = {"hello.held_leases[0].lease_id", "hello.lost_leases[0]"}
"""What can't be a lease's is answered as not the worker's."""
ANYTHING = {"hello.held_leases[0].attempt", "hello.held_leases[0].stage"}
"""For whoever looks at a stream; and an attempt that can't be is one that is not the worker's."""


def spoiled_hellos() -> list[tuple[Message, Leaf, Any]]:
    """Hellos with one bad value each."""
    cases = []
    for leaf in leaves_of("Lease"):
        if leaf.path.startswith("hello.") and leaf.path not in NAMES_OF_LEASES | ANYTHING:
            for value in (*bad_values(leaf), *["x" * 4_097] * is_text(leaf)):
                request = request_of("Lease", {"hello": hello()})
                leaf.set(request, value)
                cases.append((request, leaf, value))
    return cases


async def test_every_field_of_a_hello_is_checked(channel: aio.Channel) -> None:
    hellos = spoiled_hellos()
    assert len({leaf.path for _, leaf, _ in hellos}) >= 11
    for request, leaf, value in hellos:
        async with lease_stream(channel) as stream:
            await stream.write_bytes(request.SerializeToString())
            (field,) = await refusal_of(stream)
            assert field == named(leaf, value) or (len(value) > 63 and field.startswith("hello.labels[")), leaf.path


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({}, "message"),
        ({"hello": {}}, "message"),
        ({"heartbeat": {}}, "heartbeat.number"),
        ({"heartbeat": {"number": -1}}, "heartbeat.number"),
        ({"heartbeat": {"number": 1, "free_slots": -1}}, "heartbeat.free_slots"),
        ({"heartbeat": {"number": 1, "held_leases": [NO_LEASE] * 10_001}}, "heartbeat.held_leases"),
        ({"report": {"number": 1, "updates": [NO_LEASE]}}, "report.updates[0].update"),
        (
            {"report": {"number": 1, "updates": [{**NO_LEASE, "processing": {}}, {**NO_LEASE, "released": {}}]}},
            "report.updates[1].released.reason",
        ),
        (
            {"report": {"number": 1, "updates": [{**NO_LEASE, "released": {"reason": 99}}]}},
            "report.updates[0].released.reason",
        ),
        ({"report_part": {"report_number": 1}}, "report_part.data"),
        ({"report_part": {"report_number": 1, "data": "/w==", "last": True}}, "report_part.data"),
        ({"report_part": {"report_number": 2, "data": "CAE=", "last": True}}, "report_part.report_number"),
    ],
    ids=str,
)
async def test_a_bad_message_ends_the_stream_and_names_its_field(
    channel: aio.Channel, message: dict[str, Any], field: str
) -> None:
    async with welcomed(channel) as stream:
        await stream.write(**message)
        assert await refusal_of(stream) == [field]


@pytest.mark.parametrize("welcome_first", [False, True])
@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x03\x0a\x01\xff"], ids=["no message", "no UTF-8"])
async def test_invalid_bytes_end_the_stream(channel: aio.Channel, data: bytes, welcome_first: bool) -> None:
    async with lease_stream(channel) as stream:
        if welcome_first:
            await stream.write(hello=hello())
        await stream.write_bytes(data)
        assert await refusal_of(stream) == [""]


async def test_updates_of_unknown_leases_are_lost(channel: aio.Channel) -> None:
    async with welcomed(channel) as stream:
        strangers = [NO_LEASE, {"lease_id": "\0", "attempt": 1}, {"lease_id": "x" * 10_000, "attempt": -1}, {}]
        updates = [{**stranger, "completed": {"result": {"body": "an article"}}} for stranger in strangers]
        await stream.write(report={"number": 1, "updates": updates})
        results = (await stream.read())["acknowledgement"]["results"]
        assert [result["outcome"] for result in results] == ["UPDATE_OUTCOME_LEASE_LOST"] * len(updates)


async def test_an_acknowledgement_names_leases_that_are_not_renewed(channel: aio.Channel) -> None:
    async with welcomed(channel) as stream:
        await stream.write(heartbeat={"number": 1, "held_leases": [NO_LEASE], "last_poll_id": "no poll"})
        acknowledged = (await stream.read())["acknowledgement"]
        assert (acknowledged["heartbeat_number"], acknowledged["not_renewed_leases"]) == (1, [NO_LEASE["lease_id"]])


async def test_a_worker_id_in_use_is_refused_naming_its_holder(channel: aio.Channel) -> None:
    async with welcomed(channel, worker_id="taken", hostname="there"), lease_stream(channel) as other:
        await other.write(hello=hello(worker_id="taken"))
        with refused(StatusCode.ALREADY_EXISTS, "WORKER_ID_IN_USE") as refusal:
            await other.read()
        assert refusal.metadata == {"worker_id": "taken", "hostname": "there"}


async def test_an_older_session_is_refused(channel: aio.Channel) -> None:
    async with welcomed(channel, worker_id="again", folder_id="f", session_number=2), lease_stream(channel) as late:
        await late.write(hello=hello(worker_id="again", folder_id="f", session_number=1))
        with refused(StatusCode.ABORTED, "SESSION_REPLACED") as refusal:
            await late.read()
        assert refusal.metadata == {"worker_id": "again"}
