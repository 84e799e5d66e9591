"""A replica's streams to its workers, and what each may have under way."""

from __future__ import annotations

import asyncio

import pytest

from scheduler_svc.dispatch.streams import (
    MAX_ASSIGNMENT,
    MAX_ASSIGNMENT_BYTES,
    MAX_MESSAGES,
    MAX_NAMES,
    MAX_UNSENT_ASSIGNMENTS,
    MAX_UNSENT_ORDERS,
    AcknowledgeHeartbeat,
    Assign,
    CancelLease,
    DrainOrder,
    Outgoing,
    PollOrder,
    StreamBacklog,
    Streams,
    WorkerStream,
)
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import Grant
from scheduler_svc.domain.task import Brief
from scheduler_svc.domain.worker import DesiredState, Heartbeat
from tests.harness.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


LATER = 10.0
LARGE = 64 * 1024


def grants(count: int, topic: str = "a topic", start: int = 1) -> list[Grant]:
    return [
        Grant(LeaseRef(key, 1, 7), Brief(topic), "w", 1, 5, 1000, None, True, False)
        for key in range(start, start + count)
    ]


def stream_with_slots(worker_id: str, session_key: int, free_slots: int) -> WorkerStream:
    stream = WorkerStream(worker_id, session_key)
    stream.heartbeat(Heartbeat(1, free_slots, (), 0), LATER)
    return stream


def streams_of(*added: WorkerStream) -> Streams:
    streams = Streams()
    for stream in added:
        streams.add(stream)
    return streams


def assignments(stream: WorkerStream) -> list[Assign]:
    return [message for message in stream.take_unsent() if isinstance(message, Assign)]


def test_leases_are_cut_by_number_and_numbered_on() -> None:
    stream = stream_with_slots("w", 1, 3 * MAX_ASSIGNMENT)
    sent = grants(2 * MAX_ASSIGNMENT + 1)
    stream.assign(1, sent)
    parts = assignments(stream)
    assert [(part.number, part.heartbeat_number, len(part.grants)) for part in parts] == [
        (1, 1, MAX_ASSIGNMENT),
        (2, 1, MAX_ASSIGNMENT),
        (3, 1, 1),
    ]
    assert [grant for part in parts for grant in part.grants] == sent
    assert stream.capacity.free(0.0) == MAX_ASSIGNMENT - 1


def test_leases_are_cut_by_bytes() -> None:
    for topic in ("a" * LARGE, "艺" * LARGE, "😀" * LARGE):
        stream = stream_with_slots("w", 1, 100)
        stream.assign(1, grants(40, topic))
        parts = assignments(stream)
        sizes = [sum(len(grant.brief.topic.encode()) for grant in part.grants) for part in parts]
        assert max(sizes) <= MAX_ASSIGNMENT_BYTES
        assert sum(len(part.grants) for part in parts) == 40
    stream.assign(1, grants(2, "a" * (MAX_ASSIGNMENT_BYTES + 1)))
    assert [len(part.grants) for part in assignments(stream)] == [1, 1]


async def test_leases_not_yet_sent_are_known() -> None:
    stream = stream_with_slots("w", 1, 10)
    stream.assign(1, grants(2))
    assert isinstance(await stream.next(), Assign)  # this one may have arrived
    stream.send(AcknowledgeHeartbeat(1, (), (), DesiredState()))
    stream.assign(1, grants(3, start=10))
    acknowledged, assigned = stream.take_unsent()
    assert isinstance(acknowledged, AcknowledgeHeartbeat)
    assert isinstance(assigned, Assign)
    assert [grant.ref.task_key for grant in assigned.grants] == [10, 11, 12]
    assert stream.take_unsent() == []


async def test_messages_wait_for_whoever_sends_them_and_the_other_way_round() -> None:
    stream = WorkerStream("w", 1)
    taken = asyncio.create_task(take(stream, 3))
    await asyncio.sleep(0)  # it waits
    for poll in (1, 2):
        stream.send(PollOrder(poll))
    await asyncio.sleep(0)
    stream.send(PollOrder(3))
    async with asyncio.timeout(PATIENCE_S):
        assert await taken == [PollOrder(1), PollOrder(2), PollOrder(3)]


async def take(stream: WorkerStream, count: int) -> list[Outgoing]:
    return [await stream.next() for _ in range(count)]


def capacities(streams: Streams, most: int = 10, now: float = 0.0) -> list[tuple[str, int]]:
    return [(capacity.worker_id, capacity.free) for capacity in streams.capacities(now, most)]


def test_capacities_are_those_of_the_streams_with_free_slots() -> None:
    streams = streams_of(stream_with_slots("u", 1, 0), stream_with_slots("v", 2, 2), stream_with_slots("w", 3, 1))
    assert capacities(streams) == [("v", 2), ("w", 1)]
    assert capacities(streams, now=LATER) == []


def test_few_capacities_are_those_of_the_emptiest_streams_in_turn() -> None:
    u, v, w = stream_with_slots("u", 0, 2), stream_with_slots("v", 1, 3), stream_with_slots("w", 2, 2)
    streams = streams_of(u, v, w)
    assert capacities(streams, 1) == [("v", 3)]
    assert capacities(streams, 2) == [("v", 3), ("u", 2)]
    v.assign(1, grants(1))
    assert capacities(streams) == [("u", 2), ("w", 2), ("v", 2)]
    u.heartbeat(Heartbeat(2, 2, (), 0), LATER)
    assert capacities(streams, 1) == [("u", 2)], "a heartbeat does not put it behind the others"


def test_closed_streams_have_no_capacity() -> None:
    gone, closed, replaced = stream_with_slots("u", 1, 1), stream_with_slots("v", 2, 1), stream_with_slots("w", 3, 1)
    streams = streams_of(gone, closed, replaced)
    streams.remove(gone)
    gone.heartbeat(Heartbeat(2, 1, (), 0), LATER)  # committed after its stream was gone
    closed.close_capacity()
    assert capacities(streams) == [("w", 1)]
    closed.heartbeat(Heartbeat(2, 4, (), 0), LATER)
    assert capacities(streams) == [("v", 4), ("w", 1)]


def test_a_lapsed_session_has_capacity_again_after_its_next_heartbeat() -> None:
    stream = stream_with_slots("w", 1, 2)
    streams = streams_of(stream)
    assert capacities(streams, now=LATER) == []
    stream.heartbeat(Heartbeat(2, 2, (), 0), 2 * LATER)
    assert capacities(streams, now=LATER) == [("w", 2)]


def test_busy_sessions_come_last() -> None:
    busy, other = stream_with_slots("v", 1, 9), stream_with_slots("w", 2, 1)
    streams = streams_of(busy, other)
    busy.busy_until = 1.0
    assert capacities(streams, 1) == [("w", 1)]
    assert capacities(streams, 1, now=1.0) == [("v", 9)]


async def test_a_worker_that_does_not_read_what_it_is_granted_is_granted_nothing_more() -> None:
    streams, relieved = Streams(), 0

    def note() -> None:
        nonlocal relieved
        relieved += 1

    stream = WorkerStream("w", 1, on_relieved=note)
    stream.heartbeat(Heartbeat(1, 100, (), 0), LATER)
    streams.add(stream)
    for key in range(1, MAX_UNSENT_ASSIGNMENTS + 1):
        assert streams.capacities(0.0, 100)
        stream.assign(1, grants(1, start=key))
    assert streams.capacities(0.0, 100) == []
    await stream.next()
    assert (relieved, len(streams.capacities(0.0, 100))) == (1, 1)
    await stream.next()
    assert relieved == 1


def test_commands_to_a_worker_that_does_not_read_are_bounded() -> None:
    stream = stream_with_slots("w", 1, 1)
    streams = streams_of(stream)
    for poll in range(2 * MAX_UNSENT_ORDERS):
        streams.send_order("w", PollOrder(poll))
    assert len(stream.take_unsent()) == MAX_UNSENT_ORDERS


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["in order", "the replaced one opens late"])
def test_a_replaced_session_offers_no_capacity(order: tuple[int, int]) -> None:
    streams = streams_of(*(stream_with_slots("w", session_key, 4) for session_key in order))
    assert [(capacity.session_key, capacity.free) for capacity in streams.capacities(0.0, 100)] == [(2, 4)]
    replacing = streams.get(2)
    assert replacing is not None
    streams.remove(replacing)
    assert streams.capacities(0.0, 100) == [], "its successor is gone, it stays replaced"


async def test_a_command_goes_to_the_newest_session_of_its_worker() -> None:
    old, new = stream_with_slots("w", 1, 1), stream_with_slots("w", 2, 1)
    streams = streams_of(old, new)
    streams.remove(old)  # it ends after the new one has begun
    streams.send_order("w", DrainOrder())
    streams.send_order("nobody", DrainOrder())
    async with asyncio.timeout(PATIENCE_S):
        assert await new.next() == DrainOrder()
    assert not old.take_unsent()
    assert (streams.get(1), streams.get(2), len(streams)) == (None, new, 1)


async def test_messages_during_a_hello_wait_for_the_stream() -> None:
    streams = Streams()
    streams.send_order("w", PollOrder(1))  # nobody: the hello reads it
    with streams.hello("w") as orders, streams.hello("v") as others:
        streams.send_order("w", PollOrder(2))
        streams.send_order("w", CancelLease("a lease", "cancelled"))
        streams.send_order("w", DrainOrder())  # perhaps of the session before
    streams.send_order("w", PollOrder(3))
    assert orders == [PollOrder(2), CancelLease("a lease", "cancelled")]
    assert others == []


async def taken(under_way: StreamBacklog, names: int) -> bool:
    """Whether a message is taken at once."""
    entering = asyncio.create_task(under_way.enter(names))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = entering.done()
    entering.cancel()
    await asyncio.gather(entering, return_exceptions=True)
    return done


async def test_the_number_of_unanswered_messages_is_bounded() -> None:
    under_way = StreamBacklog()
    for _ in range(MAX_MESSAGES):
        assert await taken(under_way, 1)
    assert not await taken(under_way, 1)
    under_way.leave(1)
    assert await taken(under_way, 1)
    assert not await taken(under_way, 0)


async def test_the_number_of_unanswered_names_is_bounded() -> None:
    under_way = StreamBacklog()
    assert await taken(under_way, MAX_NAMES - 1)
    assert await taken(under_way, 1)
    assert not await taken(under_way, 1)
    under_way.leave(1)
    assert await taken(under_way, 1)


async def test_a_single_message_is_always_taken() -> None:
    under_way = StreamBacklog()
    assert await taken(under_way, 3 * MAX_NAMES)
    assert not await taken(under_way, 0)
    under_way.leave(3 * MAX_NAMES)
    assert await taken(under_way, 1)


async def test_a_waiting_reader_goes_on_once_the_backlog_shrinks() -> None:
    under_way = StreamBacklog()
    await under_way.enter(MAX_NAMES)
    waiting = asyncio.create_task(under_way.enter(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    under_way.leave(MAX_NAMES)
    async with asyncio.timeout(PATIENCE_S):
        await waiting
