"""The audit: which calls it records, with whom, about what and with which outcome, and who may read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio
from structlog.testing import capture_logs

from contentgen.rpcs import RPCS
from scheduler_svc.domain.audit import SUBMITS
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime import auditing
from tests.api.cases import OWN, Bad, Good
from tests.harness.client import refused
from tests.harness.cluster import Databases
from tests.harness.credentials import Caller, line, write
from tests.harness.replicas import SharedScheduler, channel_to, serving_beside, started_shared_scheduler
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

READS = ("BatchGet", "Get", "List", "Tail", "Wait", "Watch")


class Audit:
    """Calls of several tokens, and what is recorded of them."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel
        self.operator = self.by("op-token")

    def by(self, token: str) -> Caller:
        return Caller(self._channel, token)

    async def events(self, **wanted: Any) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = (await self.operator("AuditService/ListAuditEvents", **wanted)).get("events", [])
        return events

    async def refusal(self, token: str, rpc: str, code: StatusCode, reason: str, **fields: Any) -> dict[str, Any]:
        """The one event of a call that is refused, and tells so, without that and its time."""
        with refused(code, reason):
            await self.by(token)(rpc, **fields)
        event = await self.event(method=rpc)
        assert event.pop("outcome") == f"{code.name} {reason}"
        return event

    async def event(self, **wanted: Any) -> dict[str, Any]:
        """The one event, once there is one, without its time."""
        events: list[dict[str, Any]] = []

        async def read() -> bool:
            events[:] = await self.events(**wanted)
            return bool(events)

        await wait_until_async(read, within=PATIENCE_S, what=f"an event of {wanted}")
        (event,) = events
        del event["event_time"]
        return event


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = [
        line("op", "operator"),
        line("op1", "operator", [1]),
        line("one", "client", [1]),
        line("v2", "viewer", [2]),
        line("w", "worker"),
    ]
    return write(tmp_path_factory.mktemp("audit") / "tokens", *lines)


@pytest.fixture(scope="module")
def shared_scheduler(databases: Databases, template: str, tokens: Path) -> Iterator[SharedScheduler]:
    """One with tokens, whose calls are these tests' alone."""
    with started_shared_scheduler(databases, template, CONTENTGEN_TOKENS_FILE=str(tokens)) as scheduler:
        yield scheduler


@pytest.fixture
def replica_settings(tokens: Path) -> dict[str, Any]:
    return {"tokens_file": tokens}


@pytest.fixture
async def audit(channel: aio.Channel) -> AsyncIterator[Audit]:
    audit = Audit(channel)
    for name in ("first", "second"):
        await audit.operator("AccountService/CreateAccount", name=name)
    yield audit
    await audit.operator("AccountService/CreateAccount", name="last")  # is stored after what the test has left to store


def test_every_rpc_either_only_reads_by_its_name_or_is_audited() -> None:
    changing = {name for name in RPCS if not name.partition("/")[2].startswith(READS)}
    changing = {name for name in changing if not name.startswith("WorkerService/")}
    assert {name for name, rpc in RPCS.items() if rpc.changes} == changing
    assert tuple(name for name, rpc in RPCS.items() if rpc.changes and not rpc.changes.awaited) == SUBMITS


async def test_a_call_is_recorded_before_its_answer(audit: Audit) -> None:
    await audit.operator("AccountService/DeactivateAccount", account_id=2)
    newest = (await audit.events())[0]
    assert newest.pop("event_time")
    assert newest == {
        "actor": "op",
        "account_id": "2",
        "method": "AccountService/DeactivateAccount",
        "resource": "account:2",
        "outcome": "OK",
    }


async def test_updates_tell_what_they_have_changed_but_no_text(audit: Audit) -> None:
    fields = {"account_id": 1, "topic": "a secret topic", "priority": 3, "schedule_time": "2099-01-31T08:00:00Z"}
    task = (await audit.operator("TaskService/SubmitTask", **fields))["task"]
    edited = {"task_id": task["task_id"], "topic": "another", "priority": 9, "timeout": "90s", "labels": {"a": "b"}}
    mask = "topic,priority,timeout,labels,scheduleTime"
    await audit.by("one-token")("TaskService/UpdateTask", task=edited, update_mask=mask)
    changes = "labels; priority: 3 -> 9; schedule_time: 2099-01-31T08:00:00Z -> none; timeout: 1800s -> 90s; topic"
    assert (await audit.event(method="TaskService/UpdateTask"))["changes"] == changes
    account = {"account_id": 1, "max_priority": 7, "name": "first"}
    await audit.operator("AccountService/UpdateAccount", account=account, update_mask="maxPriority,name")
    assert (await audit.event(method="AccountService/UpdateAccount"))["changes"] == "max_priority: 0 -> 7"
    cron = {"account_id": 1, "name": "daily", "cron": "0 9 * * *", "template": {"topic": "daily"}}
    schedule_id = (await audit.operator("ScheduleService/CreateSchedule", **cron))["schedule"]["schedule_id"]
    moved = {"schedule_id": schedule_id, "cron": "0 8 * * *", "template": {"topic": "weekly"}}
    await audit.operator("ScheduleService/UpdateSchedule", schedule=moved, update_mask="cron,template")
    event = await audit.event(method="ScheduleService/UpdateSchedule")
    assert event["changes"] == "cron: 0 9 * * * -> 0 8 * * *; template"


async def test_a_submit_is_recorded_a_moment_later(audit: Audit) -> None:
    task = (await audit.by("one-token")("TaskService/SubmitTask", account_id=1, topic="a topic"))["task"]
    assert await audit.event(actor="one", method="TaskService/SubmitTask") == {
        "actor": "one",
        "account_id": "1",
        "method": "TaskService/SubmitTask",
        "resource": f"task:{task['task_id']}",
        "outcome": "OK",
    }


DENIED = StatusCode.PERMISSION_DENIED
DRAIN, DEACTIVATE, RETRY = "WorkerPoolService/DrainWorker", "AccountService/DeactivateAccount", "TaskService/RetryTask"


async def test_refused_calls_are_recorded_with_their_reason(audit: Audit) -> None:
    unknown = "task-0000000000000001"
    event = await audit.refusal("w-token", "TaskService/CancelTask", DENIED, "ROLE_FORBIDDEN", task_id=unknown)
    assert event["actor"] == "w"
    event = await audit.refusal("guessed", RETRY, StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", task_id=unknown)
    assert event == {"method": RETRY}
    event = await audit.refusal("op1-token", DRAIN, DENIED, "ACCOUNT_FORBIDDEN", worker_id="w1")
    assert event == {"actor": "op1", "account_id": "1", "method": DRAIN}
    event = await audit.refusal("op1-token", DEACTIVATE, DENIED, "ACCOUNT_FORBIDDEN", account_id=2)
    assert event["actor"] == "op1"
    assert (event["account_id"], event["resource"]) == ("2", "account:2"), "of the account that was asked for"


async def test_a_batch_is_an_event_of_each_account(audit: Audit) -> None:
    requests = [{"account_id": account_id, "topic": "a topic"} for account_id in (1, 2, 1)]
    await audit.operator("TaskService/BatchSubmitTasks", requests=requests)
    first = await audit.event(method="TaskService/BatchSubmitTasks", account_id=1)
    second = await audit.event(method="TaskService/BatchSubmitTasks", account_id=2)
    assert first["resource"].endswith(" and 1 more")
    assert second["resource"].startswith("task:task-")


async def test_what_a_batch_has_beyond_some_accounts_is_of_none(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MAX_ACCOUNTS", 1)
    requests = [{"account_id": account_id, "topic": "a topic"} for account_id in (1, 2, 2)]
    await audit.operator("TaskService/BatchSubmitTasks", requests=requests)
    await audit.event(method="TaskService/BatchSubmitTasks", account_id=1)
    events = await audit.events(method="TaskService/BatchSubmitTasks")
    assert {event.get("account_id", "0") for event in events} == {"1", "0"}


async def test_a_refused_call_is_of_the_account_of_what_it_named(audit: Audit) -> None:
    task_id = (await audit.operator("TaskService/SubmitTask", account_id=2, topic="a topic"))["task"]["task_id"]
    event = await audit.refusal("op-token", RETRY, StatusCode.FAILED_PRECONDITION, "INVALID_STATE", task_id=task_id)
    assert (event["account_id"], event["resource"]) == ("2", f"task:{task_id}")


async def test_a_deletion_is_of_the_account_of_what_is_gone(audit: Audit) -> None:
    fields = {"account_id": 2, "cron": "0 9 * * *", "time_zone": "UTC", "template": {"topic": "a topic"}}
    schedule = (await audit.operator("ScheduleService/CreateSchedule", **fields))["schedule"]
    await audit.operator("ScheduleService/DeleteSchedule", schedule_id=schedule["schedule_id"])
    event = await audit.event(method="ScheduleService/DeleteSchedule")
    assert (event["account_id"], event["resource"]) == ("2", f"schedule:{schedule['schedule_id']}")


@pytest.mark.parametrize("task_id", ["sk-1234abcd", "my secret is 1234", "x" * 1_000, "a\nb", "密码"])
async def test_a_text_in_place_of_an_id_is_not_repeated(audit: Audit, task_id: str) -> None:
    event = await audit.refusal(
        "op-token", "TaskService/CancelTask", StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", task_id=task_id
    )
    assert event["resource"] == "task:?"


async def test_a_claim_that_finds_nothing_is_not_recorded(audit: Audit) -> None:
    await audit.operator("ContentService/ClaimPublishPool")
    await audit.operator("ContentService/ClaimReview")
    assert {event["method"] for event in await audit.events()} == {"AccountService/CreateAccount"}


async def test_bytes_that_are_no_message_are_recorded(audit: Audit, channel: aio.Channel) -> None:
    call: Any = channel.unary_unary("/contentgen.v1.TaskService/CancelTask")
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
        await call(b"\xff\xff\xff", metadata=(("authorization", "Bearer op-token"),))
    event = await audit.event(actor="op", method="TaskService/CancelTask")
    assert event["outcome"] == "INVALID_ARGUMENT INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("token", "limit", "status"),
    [
        ("guessed", "MAX_UNAUTHENTICATED", StatusCode.UNAUTHENTICATED),
        ("op-token", "MAX_REFUSALS", StatusCode.NOT_FOUND),
    ],
)
async def test_a_flood_of_refused_calls_does_not_fill_the_table(
    audit: Audit, monkeypatch: pytest.MonkeyPatch, token: str, limit: str, status: StatusCode
) -> None:
    monkeypatch.setattr(auditing, limit, 2)
    with capture_logs() as logs:
        for _ in range(5):
            with pytest.raises(aio.AioRpcError) as raised:
                await audit.by(token)("TaskService/CancelTask", task_id="task-0000000000000001")
            assert raised.value.code() == status
    await audit.operator("WorkerPoolService/PauseDispatch")
    kept = [event["outcome"] for event in await audit.events(method="TaskService/CancelTask")]
    assert 2 <= len(kept) <= 4, "in each minute"
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"]


async def test_the_last_submits_of_a_stopping_replica_are_recorded(replica: Replica, db_url: str, audit: Audit) -> None:
    async with serving_beside(db_url) as other, channel_to(other) as channel:
        task = (await Caller(channel)("TaskService/SubmitTask", account_id=1, topic="a topic"))["task"]
    (event,) = await audit.events(actor="anonymous")
    assert event["resource"] == f"task:{task['task_id']}"


async def test_a_worker_is_named_if_it_exists(audit: Audit, channel: aio.Channel) -> None:
    event = await audit.refusal("op-token", DRAIN, StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", worker_id="sk-1234abcd")
    assert event["resource"] == "worker:?"
    async with ScriptedWorker(channel, token="w-token"):
        await audit.operator("WorkerPoolService/ResizeWorker", worker_id="w1", slots=2)
    assert (await audit.event(method="WorkerPoolService/ResizeWorker"))["resource"] == "worker:w1"


# What tests/api calls: requests that are answered, and those that are refused.
GOOD = [
    Good(
        "ListAuditEvents",
        {
            "account_id": OWN,
            "actor": "anonymous",
            "method": "AccountService/DeactivateAccount",
            "start_time": "0001-01-01T00:00:00Z",
            "end_time": "9999-12-31T23:59:59.999999999Z",
            "page_size": 2_147_483_647,
        },
        {"events": [], "next_page_token": ""},
    )
]
BAD = [Bad("ListAuditEvents", {"actor": "a" * 201, "method": "\0"}, fields=("actor", "method"))]
