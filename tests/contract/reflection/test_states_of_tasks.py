"""Every state of a task under every RPC that is about one: the table's move, or a refusal that says what it wants.

The states are reached by real moves; what the RPC says and what GetTask says afterwards are compared with the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from grpc import StatusCode

from tests.contract.reflected import Reflected
from tests.contract.reflection.world import TASKS, World
from tests.harness.rpc_errors import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

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


def same(**others: Expected) -> dict[str, Expected]:
    """Each state stays as it is, but for `others`."""
    return {**STATES, **others}


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
BULK: dict[tuple[str, str], tuple[str, Mapping[str, Any], set[str], dict[str, Expected]]] = {
    ("BulkCancelTasks", ""): ("changed_count", {}, WAITING, same(**dict.fromkeys(WAITING, "cancelled"))),
    ("BulkCancelTasks", "force"): (
        "changed_count",
        {"force": True},
        WAITING | RUNNING,
        same(**dict.fromkeys(WAITING | RUNNING, "cancelled")),
    ),
    ("BulkRetryTasks", ""): (
        "retried_count",
        {},
        {"failed", "timeout"},
        same(failed="pending", timeout="pending"),
    ),
    ("BulkRetryTasks", "reset_retry_count"): (
        "retried_count",
        {"reset_retry_count": True},
        {"failed", "timeout", "exhausted"},
        same(failed="pending", timeout="pending", exhausted="pending"),
    ),
    ("HandleTimeouts", ""): ("timeout_count", {}, set(), same()),
    ("CleanupTasks", ""): ("deleted_count", {"days": 0}, CLEANED, same(**dict.fromkeys(CLEANED, "gone"))),
}
"""Of the RPCs that move many, with and without their option: the count, the request, the states that are counted, and
the status after the call.
"""

LOOKS = {"GetTask", "BatchGetTasks", "ListTasks", "ListTaskEvents", "PollTask", "PollRunningTasks", "GetTaskStats"} | {
    "GetTaskHistory",
    "ListAttemptLogs",
    "WaitTask",
    "WatchTasks",
    "SubmitTask",
    "BatchSubmitTasks",
}
"""RPCs that leave every state as it is; a submit does, where it repeats a request_id."""

EVERY_STATE = pytest.mark.parametrize("state", STATES)


async def call(world: World, rpc: str, **fields: Any) -> dict[str, Any]:
    """The answer of a TaskService RPC, with every field."""
    request = await world.reflected.request(f"{TASKS}/{rpc}", fields)
    return await world.reflected.send(f"{TASKS}/{rpc}", request.SerializeToString())


async def read(world: World, task_id: str) -> dict[str, Any]:
    task: dict[str, Any] = (await call(world, "GetTask", task_id=task_id))["task"]
    return task


def status_of(task: Mapping[str, Any]) -> str:
    return str(task["status"]).removeprefix("TASK_STATUS_").lower()


async def test_every_rpc_of_the_service_is_in_a_table(reflected: Reflected) -> None:
    served = {rpc.rpartition("/")[2] for rpc in await reflected.rpcs("contentgen.v1") if rpc.startswith(f"{TASKS}/")}
    assert served == {rpc for rpc, _ in MOVES.keys() | BULK.keys()} | LOOKS
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
        moved = (await call(world, rpc, **request))["task"]
        assert status_of(moved) == status_of(await read(world, task_id)) == expected
        return
    with refused(StatusCode.FAILED_PRECONDITION, _reason(expected)) as refusal:
        await call(world, rpc, **request)
    if isinstance(expected, Wants):
        assert refusal.metadata == {"current_state": STATES[state], "required_state": expected.states}
    assert _without_reason(await read(world, task_id)) == _without_reason(before)


def _reason(expected: Wants | type[Exhausted]) -> str:
    return "INVALID_STATE" if isinstance(expected, Wants) else "RETRIES_EXHAUSTED"


@EVERY_STATE
@pytest.mark.parametrize(("rpc", "option"), BULK)
async def test_bulk_calls_move_the_tasks_that_can_be_moved(world: World, rpc: str, option: str, state: str) -> None:
    count, more, counted, after = BULK[rpc, option]
    task_id = (await world.make(state))["task_id"]
    expected = 1 if state in counted else 0
    account = {"account_id": world.account_id}
    request = {**more, **({"filter": account} if rpc == "BulkCancelTasks" else account)}
    assert (await call(world, rpc, **request))[count] == expected
    if after[state] == "gone":
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await read(world, task_id)
    else:
        assert status_of(await read(world, task_id)) == after[state]
    assert (await call(world, rpc, **request))[count] == 0


@EVERY_STATE
async def test_reads_show_the_state_and_do_not_change_it(world: World, state: str) -> None:
    task_id = (await world.make(state))["task_id"]
    before = await read(world, task_id)
    name = before["status"]
    named = {"task_ids": [task_id]}
    assert (await call(world, "WaitTask", task_id=task_id, timeout="0s"))["task"]["status"] == name
    assert [task["status"] for task in (await call(world, "BatchGetTasks", **named))["tasks"]] == [name]
    listed = await call(world, "ListTasks", account_id=world.account_id, statuses=[name])
    assert [task["task_id"] for task in listed["tasks"]] == [task_id]
    assert (await call(world, "ListTaskEvents", task_id=task_id))["events"][-1]["status"] == name
    assert (await call(world, "WatchTasks", **named))["event"]["task"]["status"] == name
    counts = (await call(world, "GetTaskStats", account_id=world.account_id))["counts"]
    assert {status for status, count in counts.items() if count == "1"} == {STATES[state]}
    assert _without_reason(await read(world, task_id)) == _without_reason(before)


@EVERY_STATE
async def test_a_wait_for_a_state_that_has_ended_waits_for_nothing(world: World, state: str) -> None:
    task_id = (await world.make(state))["task_id"]
    task = (await call(world, "WaitTask", task_id=task_id, timeout="600s" if state in ENDED else "0.01s"))["task"]
    assert ("end_time" in task) == (state in ENDED)


@EVERY_STATE
async def test_poll_task_polls_the_worker_that_holds_the_task(world: World, state: str) -> None:
    task = await world.make(state)
    answers = [world.worker.answer_poll()] if state in RUNNING else []
    answer, *_ = await asyncio.gather(call(world, "PollTask", task_id=task["task_id"]), *answers)
    assert status_of(answer) == STATES[state]
    answers = [world.worker.answer_poll()] if state in RUNNING else []
    answer, *_ = await asyncio.gather(call(world, "PollRunningTasks", account_id=world.account_id), *answers)
    running = 1 if state in RUNNING else 0
    assert (answer["total"], answer["still_running"], answer["error"]) == (running, running, 0)


@EVERY_STATE
async def test_a_repeated_submit_returns_the_present_task(world: World, state: str) -> None:
    task = await getattr(world, state)(request_id="once")
    stands = _without_reason(await read(world, task["task_id"]))
    keys = ("account_id", "topic", "request_id", "auto_retry", "max_retries", "schedule_time")
    repeated = {key: stands[key] for key in keys if key in stands}
    for answer in (
        (await call(world, "SubmitTask", **repeated))["task"],
        (await call(world, "BatchSubmitTasks", requests=[repeated, repeated]))["tasks"][1],
    ):
        assert _without_reason(answer) == stands


def _without_reason(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task without what only GetTask computes."""
    return {key: value for key, value in task.items() if key != "pending_reason"}
