"""Pages of the lists while rows come and go: what was there all along is shown once, and nothing is shown twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpc import aio
from hypothesis import given, settings
from hypothesis import strategies as st

from contentgen.v1.worker_service_pb2 import UPDATE_OUTCOME_COMMITTED
from tests.api.world import World

pytestmark = [pytest.mark.contract, pytest.mark.asyncio(loop_scope="module")]

EXAMPLES = settings(max_examples=10)
CANCELLED, PENDING = "TASK_STATUS_CANCELLED", "TASK_STATUS_PENDING"
MAX_PAGES = 50
"""More than any example makes, one row a page."""
SIZES = st.integers(1, 4)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"statuses": [PENDING]},
        {"statuses": [CANCELLED, "TASK_STATUS_FAILED"]},
        {"labels": {"team": "a"}},
        {"statuses": [PENDING, CANCELLED], "labels": {"team": "a"}},
    ]
)


async def pages(world: World, rpc: str, rows: str, **request: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """One page after the other; what the test does between two of them happens between two calls."""
    token = ""
    for _ in range(MAX_PAGES):
        answer = await world.call(rpc, page_token=token, **request)
        yield answer.get(rows, [])
        token = answer.get("next_page_token", "")
        if not token:
            return
    pytest.fail(f"{rpc} has no end")


async def attempt(world: World, task_id: str) -> None:
    """Four moves: leased, started, failed, and pending again."""
    lease = await world.lease(task_id)
    outcomes = [await world.worker.start(lease), await world.worker.fail(lease)]
    assert outcomes == [UPDATE_OUTCOME_COMMITTED] * 2
    await world.call("RetryTask", task_id=task_id, reset_retry_count=True)


@EXAMPLES
@given(before=st.integers(0, 2), size=SIZES, between=st.lists(st.booleans(), max_size=3))
async def test_events_are_paged(channel: aio.Channel, before: int, size: int, between: list[bool]) -> None:
    """A history only grows: its pages, however it grew meanwhile, are what one page shows at the end."""
    async with World(channel) as world:
        task_id = (await world.submit(auto_retry=False))["task_id"]
        for _ in range(before):
            await attempt(world, task_id)
        shown: list[dict[str, Any]] = []
        attempts, length, moves = before, 0, iter(between)
        async for page in pages(world, "ListTaskEvents", "events", task_id=task_id, page_size=size):
            shown += page
            length = 1 + 4 * attempts
            if next(moves, False):
                await attempt(world, task_id)
                attempts += 1
        everything = (await world.call("ListTaskEvents", task_id=task_id, page_size=1_000))["events"]
    assert shown == everything[:length], "all that was there when the last page was read"
    states = [event["status"] for event in shown]
    assert [event.get("previous_status") for event in shown] == [None, *states[:-1]]


async def walked(
    model: Contents | Tasks, rpc: str, rows: str, wanted: Any, between: Sequence[Sequence[Any]], **request: Any
) -> list[str]:
    """The ids in the order shown, while `between` happens: each once, and all that were there all along."""
    always, moves = model.matching(wanted), iter(between)
    shown: list[str] = []
    async for page in pages(model.world, rpc, rows, account_id=model.world.account_id, **request):
        ids = [row[model.key] for row in page]
        assert set(ids) <= model.matching(wanted)
        shown += ids
        for action in next(moves, ()):
            await model.act(action)
            always &= model.matching(wanted)
    assert len(set(shown)) == len(shown)
    assert always <= set(shown)
    return shown


WAITS = "REVIEW_STATUS_PENDING_REVIEW"
APPROVED = "REVIEW_STATUS_APPROVED"


@dataclass
class Contents:
    """An account's contents as a plain model: the review status of each, by id."""

    world: World
    statuses: dict[str, str] = field(default_factory=dict)
    key = "content_id"

    async def make(self, auto_approve: bool) -> None:
        content = await self.world.approved(auto_approve=auto_approve)
        self.statuses[content["content_id"]] = APPROVED if auto_approve else WAITS

    async def review(self, which: int) -> None:
        waiting = [content_id for content_id, status in self.statuses.items() if status == WAITS]
        if waiting:
            content_id = waiting[which % len(waiting)]
            await self.world.call("ReviewContent", content_id=content_id, decision="REVIEW_DECISION_APPROVE")
            self.statuses[content_id] = APPROVED

    async def act(self, action: bool | int) -> None:
        """True and false make a content, a number reviews one."""
        await (self.make(action) if isinstance(action, bool) else self.review(action))

    def matching(self, status: str) -> set[str]:
        return {content_id for content_id, stands in self.statuses.items() if stands == status or not status}


MAKES = st.lists(st.booleans(), min_size=2, max_size=6)
MAKES_AND_REVIEWS = st.lists(st.lists(st.one_of(st.booleans(), st.integers(0, 5)), max_size=2), max_size=4)


@EXAMPLES
@given(makes=MAKES, status=st.sampled_from(["", WAITS, APPROVED]), size=SIZES, between=MAKES_AND_REVIEWS)
async def test_contents_are_paged(
    channel: aio.Channel, makes: list[bool], status: str, size: int, between: list[Sequence[Any]]
) -> None:
    async with World(channel) as world:
        contents = Contents(world)
        for auto_approve in makes:
            await contents.make(auto_approve)
        request = {"page_size": size, **({"review_status": status} if status else {})}
        shown = await walked(contents, "ListContents", "contents", status, between, **request)
    assert shown == sorted(shown, key=int, reverse=True), "newest first"


@EXAMPLES
@given(makes=MAKES, size=SIZES, between=MAKES_AND_REVIEWS)
async def test_the_publish_pool_is_paged(
    channel: aio.Channel, makes: list[bool], size: int, between: list[Sequence[Any]]
) -> None:
    """An old content that is approved between two pages may be beyond them: it is shown once or not at all."""
    async with World(channel) as world:
        contents = Contents(world)
        for auto_approve in makes:
            await contents.make(auto_approve)
        shown = await walked(contents, "ListPublishPool", "entries", APPROVED, between, page_size=size)
    assert shown == sorted(shown, key=int), "of one priority oldest first"


@dataclass
class Tasks:
    """An account's tasks as a plain model: status and team of each, by id."""

    world: World
    states: dict[str, tuple[str, str]] = field(default_factory=dict)
    key = "task_id"

    async def submit(self, team: str) -> None:
        task = await self.world.submit(labels={"team": team})
        self.states[task["task_id"]] = (PENDING, team)

    async def cancel(self, which: int) -> None:
        pending = [task_id for task_id, (status, _) in self.states.items() if status == PENDING]
        if pending:
            task_id = pending[which % len(pending)]
            await self.world.call("CancelTask", task_id=task_id)
            self.states[task_id] = (CANCELLED, self.states[task_id][1])

    async def clean_up(self) -> None:
        await self.world.call("CleanupTasks", account_id=self.world.account_id, days=0)
        self.states = {task_id: state for task_id, state in self.states.items() if state[0] == PENDING}

    async def act(self, action: Action) -> None:
        name, *values = action
        await getattr(self, name)(*values)

    def matching(self, wanted: dict[str, Any]) -> set[str]:
        return {
            task_id
            for task_id, (status, team) in self.states.items()
            if status in wanted.get("statuses", [status]) and team == wanted.get("labels", {}).get("team", team)
        }


SUBMIT = st.tuples(st.just("submit"), st.sampled_from(["a", "b"]))
CANCEL = st.tuples(st.just("cancel"), st.integers(0, 11))
CLEAN_UP = st.tuples(st.just("clean_up"))
BEFORE = st.lists(st.one_of(SUBMIT, SUBMIT, CANCEL), min_size=3, max_size=16)
BETWEEN = st.lists(st.lists(st.one_of(SUBMIT, CANCEL, CLEAN_UP), max_size=3), max_size=6)
Action = tuple[Any, ...]
"""The name of a method of `Tasks`, and its argument."""


@EXAMPLES
@given(before=BEFORE, wanted=FILTERS, size=SIZES, between=BETWEEN)
async def test_tasks_are_paged(
    channel: aio.Channel, before: list[Action], wanted: dict[str, Any], size: int, between: list[list[Action]]
) -> None:
    async with World(channel) as world:
        tasks = Tasks(world)
        for action in before:
            await tasks.act(action)
        first = tasks.matching(wanted)
        shown = await walked(tasks, "ListTasks", "tasks", wanted, between, page_size=size, **wanted)
    assert shown == sorted(shown, reverse=True), "newest first"
    assert max(shown, default="") <= max(first, default=""), "what came later is newer than the first page"
