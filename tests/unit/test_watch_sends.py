"""Whose change is sent next, and whose watches end where the event loop lags."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from scheduler_svc.domain.errors import WatchOverrun
from scheduler_svc.runtime.calls import CALLER
from scheduler_svc.watch import watchers as sending
from scheduler_svc.watch.watchers import Overrun, SendQueue

PATIENCE_S = 60
MANY, FEW = 200, 5


@contextmanager
def watches(queue: SendQueue, **counts: int) -> Iterator[None]:
    """So many watches of each caller."""
    with ExitStack() as stack:
        for caller, count in counts.items():
            CALLER.set(caller)
            for _ in range(count):
                stack.enter_context(queue.watch())
        yield


def queued(queue: SendQueue, caller: str, count: int, order: list[str]) -> list[asyncio.Future[None]]:
    """So many turns, each of which adds its caller to `order`."""
    turns = [asyncio.get_running_loop().create_future() for _ in range(count)]
    for turn in turns:
        turn.add_done_callback(lambda _: order.append(caller))
        queue.put(caller, turn)
    return turns


async def test_callers_take_turns_however_much_one_of_them_has_to_send() -> None:
    queue, order = SendQueue(), list[str]()
    with watches(queue, a=2, b=2):
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*queued(queue, "a", MANY, order), *queued(queue, "b", FEW, order))
    first_of_b = order.index("b")
    assert order[first_of_b : first_of_b + 2 * FEW].count("b") >= FEW - 1
    assert order.count("a") == MANY


async def test_a_caller_with_one_watch_waits_for_nobody() -> None:
    queue, order = SendQueue(), list[str]()
    with watches(queue, a=2, b=1):
        flood = queued(queue, "a", MANY, order)
        assert all(turn.done() for turn in queued(queue, "b", FEW, order))
        assert not flood[-1].done()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*flood)


async def test_a_turn_that_nobody_waits_for_any_more_is_passed_over() -> None:
    queue, order = SendQueue(), list[str]()
    with watches(queue, a=2):
        turns = queued(queue, "a", MANY, order)
        for turn in turns[:-1]:
            turn.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await turns[-1]


@pytest.mark.parametrize(
    ("most", "rises"), [(float("inf"), True), (-1, False)], ids=["as long as rounds are short", "not beyond that"]
)
async def test_the_budget_rises(monkeypatch: pytest.MonkeyPatch, most: float, rises: bool) -> None:
    monkeypatch.setattr(sending, "MAX_ROUND", most)
    queue = SendQueue()
    with watches(queue, a=2):
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*queued(queue, "a", MANY, []))
    if rises:
        assert sending.FIRST_SENDS < queue.budget <= sending.MAX_SENDS
    else:
        assert queue.budget == sending.MIN_SENDS


async def test_the_largest_caller_s_watches_end_where_the_event_loop_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MAX_LATENESS", -1)
    monkeypatch.setattr(sending, "LATENESS_TIMEOUT", 0)
    monkeypatch.setattr(sending, "MAX_SENDS", 0)
    queue, order, ended = SendQueue(), list[str](), asyncio.get_running_loop().create_future()
    queue.on_overrun = ended.set_result
    with watches(queue, a=2, b=2):
        few, many = queued(queue, "b", FEW, order), queued(queue, "a", MANY, order)
        async with asyncio.timeout(PATIENCE_S):
            assert await ended == "a"
        errors = [turn.exception() for turn in many]
        assert all(isinstance(error, Overrun) and error.kind is WatchOverrun for error in errors)
        assert not any(turn.done() for turn in few)
        monkeypatch.undo()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*few)
    with pytest.raises(Overrun):
        await many[0]
