"""What one worker's stream may have under way: messages and names, and when the next is taken."""

from __future__ import annotations

import asyncio

from scheduler_svc.dispatch.streams import MAX_MESSAGES, MAX_NAMES, StreamBacklog


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
    async with asyncio.timeout(1):
        await waiting
