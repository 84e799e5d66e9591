"""Both clients' watches and polls over real servers on a real database."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Iterator
from itertools import islice, pairwise

import pytest

from contentgen import ContentGenerationClient, InvalidArgument, ResourceNotFoundException, TaskChange
from tests.contract.clients import KINDS, opened
from tests.harness.scripted_worker import ScriptedWorker

pytestmark = pytest.mark.usefixtures("shared")

NO_TASK = "task-0000000000000000"
WHOLE_LIFE = [None, "pending", "submitted", "processing", "completed"]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, target: str, ended_threads: None) -> Iterator[ContentGenerationClient]:
    with opened(request.param, target) as client:
        yield client


async def run_one(worker: ScriptedWorker) -> None:
    [lease] = await worker.take()
    await worker.start(lease)
    await worker.complete(lease)


def moves(events: list[TaskChange]) -> list[tuple[str | None, str]]:
    return [(event["previous_status"], event["task"]["status"]) for event in events]


async def test_a_watch_shows_the_present_state_then_every_move_and_ends_with_the_task(
    client: ContentGenerationClient, account: int, worker: ScriptedWorker
) -> None:
    task_id = await to_thread(client.submit_task, account, "watched")
    with await to_thread(client.watch([task_id], until_ended=True).__enter__) as watch:
        first = await to_thread(next, watch)
        await run_one(worker)
        events = [first, *await to_thread(list, watch)]
    assert moves(events) == [(None, "pending"), *pairwise(WHOLE_LIFE[1:])]
    assert {event["task"]["task_id"] for event in events} == {task_id}
    assert len({event["resume_token"] for event in events}) == len(events)
    assert events[-1]["task"]["content_id"] is not None
    assert await to_thread(list, client.watch([task_id], until_ended=True)) != []


async def test_an_entered_watch_sees_later_submits(
    client: ContentGenerationClient, account: int, worker: ScriptedWorker
) -> None:
    with await to_thread(client.watch(account_id=account).__enter__) as watch:
        task_id = await to_thread(client.submit_task, account, "seen from its submit")
        await run_one(worker)
        events = await to_thread(lambda: list(islice(watch, 4)))
    assert moves(events) == list(pairwise(WHOLE_LIFE))
    assert {event["task"]["task_id"] for event in events} == {task_id}


async def test_bad_watches_are_refused(client: ContentGenerationClient, account: int) -> None:
    with pytest.raises(ResourceNotFoundException, match=NO_TASK):
        await to_thread(next, client.watch([NO_TASK]))
    with pytest.raises(ResourceNotFoundException, match="account 999"):
        await to_thread(next, client.watch(account_id=999))
    with pytest.raises(InvalidArgument) as raised:
        await to_thread(next, client.watch(account_id=account, resume_token="no token"))
    assert raised.value.reason == "INVALID_ARGUMENT"


async def test_polls_without_running_tasks_return_at_once(client: ContentGenerationClient, account: int) -> None:
    task_id = await to_thread(client.submit_task, account, "pending")
    assert await to_thread(client.poll_single_task, task_id) == "pending"
    assert await to_thread(client.poll_single_task, NO_TASK) is None
    assert await to_thread(client.poll_running_tasks) == {
        "total": 0,
        "completed": 0,
        "failed": 0,
        "timeout": 0,
        "still_running": 0,
        "error": 0,
    }
