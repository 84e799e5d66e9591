"""Every state of tasks, contents, pool entries, accounts and workers under every RPC about them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import pytest
from grpc import StatusCode

from contentgen.rpcs import RPCS
from tests.api.world import FUTURE, World
from tests.harness.client import invalid_state, refused

pytestmark = [pytest.mark.contract, pytest.mark.asyncio(loop_scope="module")]


# Every state of a task under every RPC that is about one: the table's move, or a refusal that says what it wants.
#
# The states are reached by real moves; what the RPC says and what GetTask says afterwards are compared with the
# table.


OPEN = "pending,submitted,processing"
RETRYABLE = "failed,timeout"
STATES = {
    "pending": "pending",
    "scheduled": "pending",
    "backoff": "pending",
    "refused": "pending",
    "deferred": "pending",
    "given_back": "pending",
    "lost": "pending",
    "submitted": "submitted",
    "processing": "processing",
    "completed": "completed",
    "failed": "failed",
    "exhausted": "failed",
    "timeout": "timeout",
    "cancelled": "cancelled",
    "cancelled_by_force": "cancelled",
}
"""What `World` makes, and the status that it then has."""
RUNNING = {"submitted", "processing"}
ENDED = {state for state, status in STATES.items() if status in {"completed", "failed", "timeout", "cancelled"}}
WAITING = STATES.keys() - RUNNING - ENDED


@dataclass(frozen=True, slots=True)
class Wants:
    """INVALID_STATE, and the states that it requires."""

    states: str


class Exhausted:
    """RETRIES_EXHAUSTED."""


Expected = str | Wants | type[Exhausted]
"""The status after the call, or how it is refused."""


MOVES: dict[tuple[str, str], dict[str, Expected]] = {
    ("CancelTask", ""): {
        **dict.fromkeys(WAITING, "cancelled"),
        **dict.fromkeys(RUNNING, Wants("pending")),
        **dict.fromkeys(ENDED, Wants(OPEN)),
    },
    ("CancelTask", "force"): {**dict.fromkeys(WAITING | RUNNING, "cancelled"), **dict.fromkeys(ENDED, Wants(OPEN))},
    ("UpdateTask", ""): {**dict.fromkeys(STATES, Wants("pending")), **dict.fromkeys(WAITING, "pending")},
    ("RetryTask", ""): {
        **dict.fromkeys(STATES, Wants(RETRYABLE)),
        **dict.fromkeys(["backoff", "refused", "deferred", "failed", "timeout"], "pending"),
        "exhausted": Exhausted,
    },
    ("RetryTask", "reset_retry_count"): {
        **dict.fromkeys(STATES, Wants(RETRYABLE)),
        **dict.fromkeys(["backoff", "refused", "deferred", "failed", "timeout", "exhausted"], "pending"),
    },
}
"""Of the RPCs that move one task, with and without their option."""
CLEANED = ENDED - {"cancelled_by_force"}
"""What a worker has not let go of yet is deleted later."""
BULK: dict[tuple[str, str], tuple[str, Mapping[str, Any], Set[str], str]] = {
    ("BulkCancelTasks", ""): ("changed_count", {}, WAITING, "cancelled"),
    ("BulkCancelTasks", "force"): ("changed_count", {"force": True}, WAITING | RUNNING, "cancelled"),
    ("BulkRetryTasks", ""): ("retried_count", {}, {"failed", "timeout"}, "pending"),
    ("BulkRetryTasks", "reset_retry_count"): (
        "retried_count",
        {"reset_retry_count": True},
        {"failed", "timeout", "exhausted"},
        "pending",
    ),
    ("HandleTimeouts", ""): ("timeout_count", {}, set(), ""),
    ("CleanupTasks", ""): ("deleted_count", {"days": 0}, CLEANED, "gone"),
}
"""Of the RPCs that move many, with and without their option: the count, the request, the states that are moved, and the
status after that; the others stay as they are.
"""
EVERY_STATE = pytest.mark.parametrize("state", STATES)


async def read(world: World, task_id: str) -> dict[str, Any]:
    task: dict[str, Any] = (await world.answer("GetTask", task_id=task_id))["task"]
    return task


def status_of(task: Mapping[str, Any]) -> str:
    return str(task["status"]).removeprefix("TASK_STATUS_").lower()


async def test_every_rpc_of_the_service_that_moves_tasks_is_in_a_table() -> None:
    """The others leave every state as it is: by their rows they only read, or a call that comes twice adds nothing."""
    of_service = [rpc for name, rpc in RPCS.items() if name.startswith("TaskService/")]
    moving = {rpc.name for rpc in of_service if rpc.changes and not rpc.repeatable}
    assert moving == {rpc for rpc, _ in MOVES.keys() | BULK.keys()}
    assert all(expected.keys() == STATES.keys() for expected in MOVES.values())


@EVERY_STATE
@pytest.mark.parametrize(("rpc", "option"), MOVES)
async def test_a_task_is_moved_or_the_call_is_refused(world: World, rpc: str, option: str, state: str) -> None:
    task_id = (await world.make(state))["task_id"]
    before = await read(world, task_id)
    assert status_of(before) == STATES[state]
    request: dict[str, Any] = {"task_id": task_id, **({option: True} if option else {})}
    if rpc == "UpdateTask":
        request = {"task": {**request, "priority": 9}, "update_mask": "priority"}
    expected = MOVES[rpc, option][state]
    if isinstance(expected, str):
        moved = (await world.answer(rpc, **request))["task"]
        assert status_of(moved) == status_of(await read(world, task_id)) == expected
        return
    if isinstance(expected, Wants):
        with invalid_state(STATES[state], expected.states):
            await world.answer(rpc, **request)
    else:
        with refused(StatusCode.FAILED_PRECONDITION, "RETRIES_EXHAUSTED") as refusal:
            await world.answer(rpc, **request)
        assert (refusal.metadata, refusal.preconditions) == ({}, ["RETRIES_EXHAUSTED"])
    assert _without_reason(await read(world, task_id)) == _without_reason(before)


@EVERY_STATE
@pytest.mark.parametrize(("rpc", "option"), BULK)
async def test_bulk_calls_move_the_tasks_that_can_be_moved(world: World, rpc: str, option: str, state: str) -> None:
    count, more, moved, status = BULK[rpc, option]
    task_id = (await world.make(state))["task_id"]
    account = {"account_id": world.account_id}
    request = {**more, **({"filter": account} if rpc == "BulkCancelTasks" else account)}
    assert (await world.answer(rpc, **request))[count] == int(state in moved)
    if state in moved and status == "gone":
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await read(world, task_id)
    else:
        assert status_of(await read(world, task_id)) == (status if state in moved else STATES[state])
    assert (await world.answer(rpc, **request))[count] == 0


@EVERY_STATE
async def test_reads_show_the_state_and_do_not_change_it(world: World, state: str) -> None:
    task_id = (await world.make(state))["task_id"]
    before = await read(world, task_id)
    name = before["status"]
    named = {"task_ids": [task_id]}
    waited = (await world.answer("WaitTask", task_id=task_id, timeout="600s" if state in ENDED else "0s"))["task"]
    assert (waited["status"], "end_time" in waited) == (name, state in ENDED), "no wait for what has ended"
    assert [task["status"] for task in (await world.answer("BatchGetTasks", **named))["tasks"]] == [name]
    listed = await world.answer("ListTasks", account_id=world.account_id, statuses=[name])
    assert [task["task_id"] for task in listed["tasks"]] == [task_id]
    assert (await world.answer("ListTaskEvents", task_id=task_id))["events"][-1]["status"] == name
    assert (await world.answer("WatchTasks", **named))["event"]["task"]["status"] == name
    counts = (await world.answer("GetTaskStats", account_id=world.account_id))["counts"]
    assert {status for status, count in counts.items() if count == "1"} == {STATES[state]}
    assert _without_reason(await read(world, task_id)) == _without_reason(before)


@EVERY_STATE
async def test_poll_task_polls_the_worker_that_holds_the_task(world: World, state: str) -> None:
    task = await world.make(state)
    answers = [world.answer_poll()] if state in RUNNING else []
    answer, *_ = await asyncio.gather(world.answer("PollTask", task_id=task["task_id"]), *answers)
    assert status_of(answer) == STATES[state]
    answers = [world.answer_poll()] if state in RUNNING else []
    answer, *_ = await asyncio.gather(world.answer("PollRunningTasks", account_id=world.account_id), *answers)
    running = 1 if state in RUNNING else 0
    assert (answer["total"], answer["still_running"], answer["error"]) == (running, running, 0)


@EVERY_STATE
async def test_a_repeated_submit_returns_the_present_task(world: World, state: str) -> None:
    task = await getattr(world, state)(request_id="once")
    stands = _without_reason(await read(world, task["task_id"]))
    keys = ("account_id", "topic", "request_id", "auto_retry", "max_retries", "schedule_time")
    repeated = {key: stands[key] for key in keys if key in stands}
    for answer in (
        (await world.answer("SubmitTask", **repeated))["task"],
        (await world.answer("BatchSubmitTasks", requests=[repeated, repeated]))["tasks"][1],
    ):
        assert _without_reason(answer) == stands


def _without_reason(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task without what only GetTask computes."""
    return {key: value for key, value in task.items() if key not in {"pending_reason", "next_attempt_time"}}


# Contents, entries of the pool, accounts and workers: each state under each RPC that could change it.


DECIDED = {"approved": "approved", "approved_by_review": "approved", "rejected": "rejected"}
"""What `World` makes, and the review status that it has; `unreviewed` is the one that a review decides."""
ENTRIES = {
    "unclaimed": "pending",
    "claimed": "publishing",
    "lapsed": "pending",
    "claimed_anew": "publishing",
    "published": "published",
    "unpublishable": "pending",
}
"""What `World` makes, and the status that the entry then has."""


async def entry_of(world: World) -> dict[str, Any]:
    """The only entry of the account."""
    listed = await world.call("ListPublishPool", account_id=world.account_id)
    (entry,) = listed["entries"]
    fields: dict[str, Any] = entry
    return fields


def short(status: str) -> str:
    return status.removeprefix("PUBLISH_STATUS_").lower()


@pytest.mark.parametrize(
    ("decision", "outcome", "entries"),
    [("REVIEW_DECISION_APPROVE", "REVIEW_STATUS_APPROVED", 1), ("REVIEW_DECISION_REJECT", "REVIEW_STATUS_REJECTED", 0)],
)
async def test_a_pending_review_is_decided(world: World, decision: str, outcome: str, entries: int) -> None:
    content_id = (await world.unreviewed())["content_id"]
    answer = await world.call("ReviewContent", content_id=content_id, decision=decision)
    assert answer["content"]["review_status"] == outcome
    listed = await world.call("ListPublishPool", account_id=world.account_id)
    assert len(listed.get("entries", ())) == entries


@pytest.mark.parametrize("state", DECIDED)
@pytest.mark.parametrize("decision", ["REVIEW_DECISION_APPROVE", "REVIEW_DECISION_REJECT"])
async def test_a_review_decision_is_final(world: World, decision: str, state: str) -> None:
    content_id = (await world.make(state))["content_id"]
    before = await world.call("GetContent", content_id=content_id)
    with invalid_state(DECIDED[state], "pending_review"):
        await world.call("ReviewContent", content_id=content_id, decision=decision)
    assert await world.call("GetContent", content_id=content_id) == before


@pytest.mark.parametrize("state", ENTRIES)
async def test_only_the_claim_that_holds_an_entry_renews_and_ends_it(world: World, state: str) -> None:
    entry = await world.make(state)
    before = await entry_of(world)
    assert short(before["status"]) == ENTRIES[state]
    named = {"content_id": entry["content_id"], "claim_id": entry["claim_id"]}
    if state == "claimed":
        renewed = (await world.call("RenewPublishClaim", lease="9000s", **named))["entry"]
        assert renewed["claim_expire_time"] > before["claim_expire_time"]
        before, named["claim_id"] = renewed, "claim-of-nobody"
    for rpc, report in (
        ("RenewPublishClaim", {}),
        ("ReportPublished", {"published": True}),
        ("ReportPublished", {"published": False}),
    ):
        with invalid_state(ENTRIES[state], "publishing"):
            await world.call(rpc, **report, **named)
    assert await entry_of(world) == before


@pytest.mark.parametrize(("published", "status"), [(True, "published"), (False, "pending")])
async def test_the_claim_that_holds_an_entry_can_end_it(world: World, published: bool, status: str) -> None:
    entry = await world.claimed()
    named = {"content_id": entry["content_id"], "claim_id": entry["claim_id"]}
    answer = await world.call("ReportPublished", published=published, error="why", **named)
    assert short(answer["entry"]["status"]) == status
    assert await entry_of(world) == answer["entry"]


@pytest.mark.parametrize("state", ["unreviewed", "rejected"])
async def test_contents_outside_the_pool_are_not_found_there(world: World, state: str) -> None:
    content_id = (await world.make(state))["content_id"]
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await world.call("ReportPublished", content_id=content_id, claim_id="claim", published=True)
    assert refusal.metadata == {"resource_type": "content", "resource_id": content_id}


@pytest.mark.parametrize("state", ENTRIES)
async def test_only_pending_entries_of_the_pool_are_claimed(world: World, state: str) -> None:
    entry = await world.make(state)
    answer = await world.call("ClaimPublishPool", account_id=world.account_id, limit=10)
    claimed = [item["content_id"] for item in answer.get("entries", ())]
    due = ENTRIES[state] == "pending" and state != "unpublishable"  # that one waits for its next attempt
    assert claimed == ([entry["content_id"]] if due else [])


EDITS: dict[str, tuple[dict[str, Any], set[str], str]] = {
    "RetryPublish": ({}, {"unpublishable"}, "failed"),
    "RemoveFromPublishPool": ({}, ENTRIES.keys() - {"claimed", "claimed_anew"}, "pending,published,failed"),
    "UpdatePublishPoolEntry": (
        {"priority": 9, "schedule_time": FUTURE},
        ENTRIES.keys() - {"claimed", "claimed_anew", "published"},
        "pending,failed",
    ),
}
"""The new values that each takes, what it is allowed for, and the states that a refusal names."""


@pytest.mark.parametrize("state", ENTRIES)
@pytest.mark.parametrize("rpc", EDITS)
async def test_entries_are_edited_in_their_states_only(world: World, rpc: str, state: str) -> None:
    values, allowed, required = EDITS[rpc]
    content_id = (await world.make(state))["content_id"]
    before = await entry_of(world)
    edit = {"content_id": content_id, **values}
    request = {"entry": edit, "update_mask": "priority,scheduleTime"} if values else edit
    if state not in allowed:
        with invalid_state(ENTRIES[state], required):
            await world.call(rpc, **request)
        assert await entry_of(world) == before
        return
    answer = await world.call(rpc, **request)
    if rpc == "RemoveFromPublishPool":
        listed = await world.call("ListPublishPool", account_id=world.account_id)
        assert not listed.get("entries")
        return
    entry = answer["entry"]
    assert entry == await entry_of(world)
    assert short(entry["status"]) == ("pending" if rpc == "RetryPublish" else ENTRIES[state])
    assert {key: entry[key] for key in values} == values


@pytest.mark.parametrize(("state", "refuses"), [("account", False), ("inactive", True)])
async def test_an_account_takes_submits_while_it_is_active(world: World, state: str, refuses: bool) -> None:
    account_id = (await world.make(state))["account_id"]
    submit = {"account_id": account_id, "topic": "a topic"}
    if not refuses:
        assert (await world.submit(**submit))["status"] == "TASK_STATUS_PENDING"
    for active in (False, False, True, True):
        await _switch(world, account_id, active=active)
        account = (await world.call("GetAccount", account_id=account_id))["account"]
        assert account.get("active", False) is active
        if active:
            assert (await world.submit(**submit))["status"] == "TASK_STATUS_PENDING"
            continue
        with refused(StatusCode.FAILED_PRECONDITION, "ACCOUNT_INACTIVE") as refusal:
            await world.submit(**submit)
        assert refusal.metadata == {"account_id": account_id}


async def _switch(world: World, account_id: str, *, active: bool) -> None:
    if active:
        account = {"account_id": account_id, "active": True}
        await world.call("UpdateAccount", account=account, update_mask="active")
    else:
        await world.call("DeactivateAccount", account_id=account_id)


@pytest.mark.parametrize("state", ["connected", "draining", "disconnected"])
async def test_a_worker_is_controlled_whether_it_is_connected_or_not(world: World, state: str) -> None:
    worker_id = (await world.make(state))["worker_id"]
    for slots in (1, 7, 7):
        resized = await world.call("ResizeWorker", worker_id=worker_id, slots=slots)
        assert resized["worker"]["slots"] == slots
        assert resized["worker"].get("draining", False) is (state == "draining")
    for _ in range(2):
        drained = await world.call("DrainWorker", worker_id=worker_id)
        assert drained["worker"]["draining"] is True
    for _ in range(2):
        undrained = await world.call("UndrainWorker", worker_id=worker_id)
        assert undrained["worker"].get("draining", False) is False
