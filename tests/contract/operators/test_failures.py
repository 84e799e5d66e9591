"""Calls that fail: the exit status for scripts, and one line that says what to do."""

from __future__ import annotations

import grpc
import pytest
from grpc import StatusCode

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from tests.contract.operators.transcript import Transcript, run
from tests.harness.scripted_server import refuse, scripted

REFUSALS = [
    (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", 2, ""),
    (StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", 2, "set CONTENTGEN_TOKEN"),
    (StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN", 2, "role operator"),
    (StatusCode.PERMISSION_DENIED, "ACCOUNT_FORBIDDEN", 2, "other accounts"),
    (StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", 3, ""),
    (StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 4, "CONTENTGEN_MAX_QUEUE_SIZE"),
    (StatusCode.RESOURCE_EXHAUSTED, "ACCOUNT_QUEUE_FULL", 4, "--max-pending-tasks"),
    (StatusCode.INTERNAL, "INTERNAL", 4, ""),
    (StatusCode.UNIMPLEMENTED, "", 4, "older than this command"),
    (StatusCode.UNKNOWN, "", 4, "answers UNKNOWN"),
    (StatusCode.FAILED_PRECONDITION, "RETRIES_EXHAUSTED", 5, "--reset-retry-count"),
    (StatusCode.FAILED_PRECONDITION, "ACCOUNT_INACTIVE", 5, "account update"),
    (StatusCode.ALREADY_EXISTS, "REQUEST_ID_CONFLICT", 5, ""),
]


@pytest.mark.parametrize(("code", "reason", "status", "advice"), REFUSALS)
def test_a_refusal_prints_one_line_and_sets_the_status(code: StatusCode, reason: str, status: int, advice: str) -> None:
    def submit(_: pb.SubmitTaskRequest, context: grpc.ServicerContext) -> pb.SubmitTaskResponse:
        refuse(context, code, reason, "that is refused")
        return pb.SubmitTaskResponse()

    with scripted(SubmitTask=submit) as target:
        result = run("-s", target, "task", "submit", "-a", "1", "a topic")
    assert (result.status, result.out, result.err.count("\n")) == (status, "", 1)
    assert result.err.startswith("contentgen: ")
    assert "that is refused" in result.err or not reason
    assert advice in result.err


def test_without_its_database_a_scheduler_is_unavailable() -> None:
    def get(_: pb.GetTaskRequest, context: grpc.ServicerContext) -> pb.GetTaskResponse:
        refuse(context, StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the database is away")
        return pb.GetTaskResponse()

    with scripted(GetTask=get) as target:
        result = run("-s", target, "task", "status", "task-1")
    assert result.status == 4
    assert result.err == (
        "contentgen: the database is away; the scheduler is there, its database is not: look at `contentgen doctor`\n"
    )


def test_an_unreachable_scheduler_prints_one_line() -> None:
    result = run("-s", "127.0.0.1:1", "task", "cancel", "task-1")
    assert (result.status, result.out) == (4, "")
    assert result.err == (
        "contentgen: cannot reach the scheduler at 127.0.0.1:1 (Connection refused): start one (contentgen-scheduler),"
        " or name it by --scheduler or CONTENTGEN_SCHEDULER\n"
    )


def test_an_unknown_host_is_named() -> None:
    result = run("-s", "no-such-host.invalid:50051", "task", "cancel", "task-1")
    assert (result.status, result.err.count("\n")) == (4, 1)
    assert "(no such host): start one" in result.err


async def test_the_first_of_several_addresses_that_answers_is_used(contentgen: Transcript, account: int) -> None:
    target = contentgen.target
    for addresses in (f"127.0.0.1:1,{target}", f"{target},127.0.0.1:1", f"ipv4:127.0.0.1:1,{target}"):
        result = await contentgen("--scheduler", addresses, "account", "list", "-o", "jsonl")
        assert result.status == 0
        assert f'"account_id": {account}' in result.out


async def test_several_tasks_are_done_one_by_one(contentgen: Transcript, account: int) -> None:
    task_id = (await contentgen("task", "submit", "-a", "1", "a topic")).out.strip()
    result = await contentgen("task", "cancel", "task-0000000000000009", task_id, task_id)
    assert result.status == 3
    assert result.out == f"{task_id}  cancelled\n"
    first, second = result.err.splitlines()
    assert "task-0000000000000009" in first
    assert "cancelled" in second


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_SCHEDULER", "127.0.0.1:2")
    assert "127.0.0.1:2 " in run("task", "cancel", "task-1").err
    assert "127.0.0.1:1 " in run("-s", "127.0.0.1:1", "task", "cancel", "task-1").err
    assert "127.0.0.1:3 " in run("-s", "127.0.0.1:1", "task", "cancel", "task-1", "-s", "127.0.0.1:3").err


def test_the_token_is_sent_with_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = []

    def get(_: pb.GetTaskRequest, context: grpc.ServicerContext) -> pb.GetTaskResponse:
        tokens.append(dict(context.invocation_metadata())["authorization"])
        return pb.GetTaskResponse(task=task_pb2.Task(task_id="task-1"))

    monkeypatch.setenv("CONTENTGEN_TOKEN", "secret")
    with scripted(GetTask=get) as target:
        assert run("-s", target, "task", "status", "task-1").status == 0
    assert tokens == ["Bearer secret"]
