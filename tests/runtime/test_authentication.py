"""Who may call what: tokens and roles, for every RPC that the descriptors have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from contentgen.rpcs import METHODS, RPCS
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1.task_pb2 import TASK_STATUS_CANCELLED
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from scheduler_svc.domain.account import Role
from scheduler_svc.replica.replica import Replica
from tests.harness.client import refused
from tests.harness.cluster import Databases
from tests.harness.credentials import Caller, line, write
from tests.harness.replicas import SharedScheduler, started_shared_scheduler
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

NAMES = {
    Role.OPERATOR: "op",
    Role.CLIENT: "c",
    Role.REVIEWER: "r",
    Role.PUBLISHER: "p",
    Role.VIEWER: "v",
    Role.WORKER: "w",
}
"""Of a token of each role; with `-tied`, of one that is tied to accounts."""
FOR = {name: {Role.OPERATOR, *map(Role, rpc.callers.split())} for name, rpc in RPCS.items()}
"""The roles of each RPC."""
TOKENS = [
    *(line(name, role) for role, name in NAMES.items()),
    *(line(f"{name}-tied", role, [2, 1]) for role, name in NAMES.items() if role is not Role.WORKER),
    line("console", "client", delegates=True),
    line("console-tied", "operator", [2, 1], delegates=True),
]


@pytest.fixture(scope="module")
def shared_scheduler(
    databases: Databases, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedScheduler]:
    """One with tokens, which stay as they are."""
    tokens = write(tmp_path_factory.mktemp("auth") / "tokens", *TOKENS)
    with started_shared_scheduler(databases, template, CONTENTGEN_TOKENS_FILE=str(tokens)) as scheduler:
        yield scheduler


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Those of `replica`, to be changed."""
    return write(tmp_path / "tokens", *TOKENS)


@pytest.fixture
def replica_settings(tokens: Path) -> dict[str, Any]:
    return {"tokens_file": tokens}


async def test_every_rpc_requires_a_token_of_its_roles(channel: aio.Channel) -> None:
    for rpc, allowed in FOR.items():
        with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
            await Caller(channel)(rpc)
        for role in Role:
            caller = Caller(channel, f"{NAMES[role]}-token")
            if role not in allowed:
                with refused(StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN") as refusal:
                    await caller(rpc)
                assert refusal.metadata == {"role": role, "required_role": ",".join(sorted(allowed))}
            else:
                answers = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}
                assert await _code(caller, rpc) in answers, rpc


@pytest.mark.parametrize(
    ("role", "tied"), [(role, tied) for role in Role for tied in (False, True) if not (tied and role is Role.WORKER)]
)
async def test_get_caller_names_the_very_rpcs_that_are_not_denied(channel: aio.Channel, role: Role, tied: bool) -> None:
    name = f"{NAMES[role]}-tied" if tied else NAMES[role]
    caller = Caller(channel, f"{name}-token")
    denied = {rpc for rpc, allowed in FOR.items() if role not in allowed}  # of which another test shows that they are
    if tied:
        denied = {rpc for rpc in METHODS if await _code(caller, rpc) is StatusCode.PERMISSION_DENIED}
    answer = await caller("SystemService/GetCaller")
    assert answer.pop("account_ids", []) == (["1", "2"] if tied else [])
    methods = sorted(METHODS.keys() - denied)
    assert set(answer.pop("methods")) ^ set(methods) == set()
    assert answer == {"name": name, "role": role, "token_required": True}


async def _code(caller: Caller, rpc: str) -> StatusCode:
    """Of a call with an empty request, or a bad account: none would watch without end, or be about all accounts."""
    names = METHODS[rpc].input_type.fields_by_name
    fields = (
        {"account_id": -1} if "account_id" in names else {"channel": {"account_ids": [1]}} if "channel" in names else {}
    )
    try:
        await caller(rpc, **fields)
    except aio.AioRpcError as error:
        return error.code()
    return StatusCode.OK


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "op-token")],
        [("authorization", "Basic op-token")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer op-token"), ("authorization", "Bearer op-token")],
        [("authorization", "Bearer op-token-and-more")],
        [("authorization", "Bearer " + "x" * 4_000)],
    ],
)
async def test_metadata_without_exactly_one_bearer_token_is_refused(
    channel: aio.Channel, headers: list[tuple[str, str]]
) -> None:
    call = _raw(channel, "/contentgen.v1.AccountService/ListAccounts")
    with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID") as refusal:
        await call(b"", metadata=headers)
    assert "op-token" not in refusal.message
    assert await call(b"", metadata=[("authorization", "bEARER op-token")]) == b""


ANNA = {"name": "anna@example.com", "role": "reviewer", "accounts": [2]}


async def test_a_token_that_delegates_calls_with_the_rights_of_the_person_whom_it_names(channel: aio.Channel) -> None:
    for token, person in (("console", ANNA), ("console-tied", ANNA), ("console-tied", {**ANNA, "role": "operator"})):
        caller = Caller(channel, f"{token}-token", json.dumps(person).encode())
        answer = await caller("SystemService/GetCaller")
        assert (answer["name"], answer["role"], answer["account_ids"]) == (ANNA["name"], person["role"], ["2"])
        assert ("TaskService/SubmitTask" in answer["methods"]) is (person["role"] == "operator")
        with refused(StatusCode.PERMISSION_DENIED, "ACCOUNT_FORBIDDEN"):
            await caller("ContentService/ListContents", account_id=1)
    with refused(StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN"):
        await Caller(channel, "console-token", json.dumps(ANNA).encode())("TaskService/SubmitTask")
    operator = Caller(channel, "op-token")

    async def outcomes() -> set[str]:
        events = (await operator("AuditService/ListAuditEvents", actor=ANNA["name"])).get("events", [])
        return {event["outcome"] for event in events}

    audited = await wait_until_async(outcomes, within=PATIENCE_S, what="the audit names the person")
    assert audited == {"PERMISSION_DENIED ROLE_FORBIDDEN"}


@pytest.mark.parametrize(
    ("token", "person", "why"),
    [
        ("console", None, "must be JSON"),
        ("console", b"", "must be JSON"),
        ("console", b"\xff{", "must be JSON"),
        ("console", b"[" * 4_000, "must be JSON"),
        ("console", {}, "must be JSON"),
        ("console", {**ANNA, "role": "worker", "accounts": [1]}, "must be JSON"),
        ("console", {**ANNA, "name": "\n"}, "must be JSON"),
        ("console", {**ANNA, "accounts": []}, "must be JSON"),
        ("console", {**ANNA, "delegates": True}, "must be JSON"),
        ("console", {**ANNA, "admin": True}, "must be JSON"),
        ("console", {**ANNA, "name": "op"}, "a token has the name 'op', too"),
        ("console", {**ANNA, "role": "operator"}, "may do less than operator"),
        ("console", {**ANNA, "role": "viewer"}, "may do less than viewer"),
        ("console-tied", {**ANNA, "accounts": [2, 3]}, "tied to (1, 2)"),
        ("console-tied", {"name": "anna", "role": "reviewer"}, "tied to (1, 2)"),
        ("op", ANNA, "does not say `delegates`"),
    ],
)
async def test_a_token_does_not_act_for_whom_it_may_not(
    channel: aio.Channel, token: str, person: dict[str, Any] | bytes | None, why: str
) -> None:
    named = json.dumps(person).encode() if isinstance(person, dict) else person
    for rpc in ("SystemService/GetCaller", "AccountService/ListAccounts", "WorkerService/Lease"):
        with refused(StatusCode.PERMISSION_DENIED, "DELEGATION_FORBIDDEN") as refusal:
            await Caller(channel, f"{token}-token", named)(rpc)
        assert why in refusal.message


async def test_a_refused_caller_s_request_is_not_read(channel: aio.Channel) -> None:
    with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
        await _raw(channel, "/contentgen.v1.TaskService/GetTask")(b"\xff\xff no message")


def _raw(channel: aio.Channel, path: str) -> Any:
    return channel.unary_unary(path)


async def test_an_unknown_method_requires_a_token_too(channel: aio.Channel) -> None:
    for path in ("/contentgen.v1.TaskService/Other", "/other.Service/Rpc"):
        with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
            await _raw(channel, path)(b"")
        with refused(StatusCode.UNIMPLEMENTED):
            await _raw(channel, path)(b"", metadata=[("authorization", "Bearer op-token")])


async def test_reflection_and_channelz_require_an_operator_of_all_accounts(channel: aio.Channel) -> None:
    for method in ("channelz.v1.Channelz/GetServers", "reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
        call = _raw(channel, f"/grpc.{method}")
        with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
            await call(b"")
        for name, reason in (("c", "ROLE_FORBIDDEN"), ("op-tied", "ACCOUNT_FORBIDDEN")):
            with refused(StatusCode.PERMISSION_DENIED, reason):
                await call(b"", metadata=[("authorization", f"Bearer {name}-token")])
    servers: Any = channelz_pb2_grpc.ChannelzStub(channel)  # type: ignore[arg-type] # its types know no aio
    answer = await servers.GetServers(channelz_pb2.GetServersRequest(), metadata=[("authorization", "Bearer op-token")])
    assert answer.server


async def test_streams_of_a_removed_token_end_and_others_continue(
    replica: Replica, channel: aio.Channel, tokens: Path
) -> None:
    operator = Caller(channel, "op-token")
    await operator("AccountService/CreateAccount", name="one")
    submitted = await operator("TaskService/SubmitTask", account_id=1, topic="a topic")
    request = task_pb.WatchTasksRequest(task_ids=[submitted["task"]["task_id"]])
    watches: list[Any] = [
        TaskServiceStub(channel).WatchTasks(request, metadata=(("authorization", f"Bearer {token}"),))
        for token in ("c-token", "op-token")
    ]
    for watch in watches:
        await watch.read()
    async with ScriptedWorker(channel, token="w-token") as worker:
        write(tokens, line("op", "operator"))
        with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
            await watches[0].read()
        with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
            await worker.read("reconnect")
    await operator("TaskService/CancelTask", task_id=submitted["task"]["task_id"])
    assert (await watches[1].read()).event.task.status == TASK_STATUS_CANCELLED
    watches[1].cancel()
