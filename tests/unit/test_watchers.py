"""What is kept of changes for the watchers of one selection, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import pytest

from scheduler_svc.domain.access import ALL
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.errors import ShuttingDown
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import Task
from scheduler_svc.watch.watchers import MAX_BUFFER, Overrun, RecentChanges, SendQueue, Watcher
from scheduler_svc.watch.work import Selection


@pytest.fixture
def recent() -> RecentChanges:
    return RecentChanges(Selection(scope=ALL), ALL)


def joined(recent: RecentChanges) -> Watcher:
    watcher = Watcher(recent, SendQueue(), lambda: None)
    recent.join(watcher)
    return watcher


def offered(recent: RecentChanges, *numbers: int) -> None:
    for number in numbers:
        recent.offer(TaskChange(number, cast(Task, None), Status.NONE, datetime(2026, 1, 1, tzinfo=UTC), False))


def kept(recent: RecentChanges) -> list[int]:
    return [selected.change.number for selected in recent._changes]


async def read(watcher: Watcher, count: int) -> list[int]:
    return [(await watcher.next()).change.number for _ in range(count)]


async def test_what_all_have_read_is_not_kept(recent: RecentChanges) -> None:
    fast, slow = joined(recent), joined(recent)
    offered(recent, 1, 2, 3)
    assert await read(fast, 3) == [1, 2, 3]
    assert kept(recent) == [1, 2, 3]
    assert await read(slow, 2) == [1, 2]
    assert kept(recent) == [3]
    late = joined(recent)
    offered(recent, 4)
    assert await read(slow, 2) == [3, 4]
    assert kept(recent) == [4]
    assert await read(late, 1) == await read(fast, 1) == [4]
    assert not kept(recent)


@pytest.mark.parametrize("end", [RecentChanges.leave, lambda _, watcher: watcher.fail(ShuttingDown())])
async def test_nothing_is_kept_for_a_watcher_that_has_ended(recent: RecentChanges, end: object) -> None:
    reader, ended = joined(recent), joined(recent)
    offered(recent, 1, 2, 3)
    assert await read(reader, 2) == [1, 2]
    assert callable(end)
    end(recent, ended)
    assert kept(recent) == [3]
    offered(recent, 4)
    recent.leave(ended)
    assert await read(reader, 2) == [3, 4]
    assert not kept(recent)


async def test_a_watcher_too_far_behind_is_cut_off_and_nothing_is_kept_for_it(recent: RecentChanges) -> None:
    reader, idle = joined(recent), joined(recent)
    offered(recent, *range(MAX_BUFFER))
    assert await read(reader, MAX_BUFFER) == list(range(MAX_BUFFER))
    assert not idle.failed
    offered(recent, MAX_BUFFER)
    assert idle.failed
    assert kept(recent) == [MAX_BUFFER]
    with pytest.raises(Overrun):
        await idle.next()
    assert await read(reader, 1) == [MAX_BUFFER]
