"""AccountService over a real server on a real database."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from contentgen.v1 import account_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from tests.harness.client import refused
from tests.harness.scripted_worker import ScriptedWorker

if TYPE_CHECKING:
    from contentgen.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]


async def test_an_account_is_made_read_and_listed(accounts: AccountServiceAsyncStub) -> None:
    before = time.time()
    account = (
        await accounts.CreateAccount(pb.CreateAccountRequest(name="新闻", max_concurrent_tasks=4, weight=2.5))
    ).account
    assert (account.name, account.max_concurrent_tasks, account.weight, account.active) == ("新闻", 4, 2.5, True)
    assert account.account_id >= 1
    assert abs(account.create_time.ToSeconds() - before) < 60
    assert (await accounts.GetAccount(pb.GetAccountRequest(account_id=account.account_id))).account == account
    assert list((await accounts.ListAccounts(pb.ListAccountsRequest())).accounts) == [account]


async def test_an_account_has_no_limit_and_weight_1_by_default(accounts: AccountServiceAsyncStub) -> None:
    account = (await accounts.CreateAccount(pb.CreateAccountRequest(name="plain"))).account
    assert (account.max_concurrent_tasks, account.weight) == (0, 1.0)
    assert (account.max_pending_tasks, account.max_priority, account.max_starts_per_minute) == (0, 0, 0)


async def test_an_account_is_made_with_quotas(accounts: AccountServiceAsyncStub) -> None:
    quotas = {"max_pending_tasks": 9, "max_priority": 3, "max_starts_per_minute": 60, "max_asset_bytes": 2**40}
    account = (await accounts.CreateAccount(pb.CreateAccountRequest(name="bulk", **quotas))).account
    assert {name: getattr(account, name) for name in quotas} == quotas
    assert (await accounts.GetAccount(pb.GetAccountRequest(account_id=account.account_id))).account == account


@pytest.mark.parametrize("bad", [-1, 11])
async def test_bad_quotas_are_refused_with_every_bad_field(accounts: AccountServiceAsyncStub, bad: int) -> None:
    request = pb.CreateAccountRequest(
        name="bulk", max_pending_tasks=min(bad, 0) - 1, max_priority=bad, max_starts_per_minute=-1, max_asset_bytes=-1
    )
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.CreateAccount(request)
    assert refusal.fields == ["max_pending_tasks", "max_priority", "max_starts_per_minute", "max_asset_bytes"]


async def test_a_submit_over_its_account_s_quotas_is_refused(
    accounts: AccountServiceAsyncStub, tasks: TaskServiceAsyncStub
) -> None:
    quotas = pb.CreateAccountRequest(name="bulk", max_pending_tasks=2, max_priority=6)
    account_id = (await accounts.CreateAccount(quotas)).account.account_id
    plain = task_pb.SubmitTaskRequest(account_id=account_id, topic="a topic")
    urgent = task_pb.SubmitTaskRequest(account_id=account_id, topic="a topic", priority=7)
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.SubmitTask(urgent)
    assert refusal.fields == ["priority"]
    assert "at most 6" in refusal.message
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.BatchSubmitTasks(task_pb.BatchSubmitTasksRequest(requests=[plain, urgent]))
    assert refusal.fields == ["requests[1].priority"]
    await tasks.BatchSubmitTasks(task_pb.BatchSubmitTasksRequest(requests=[plain] * 2))
    with refused(StatusCode.RESOURCE_EXHAUSTED, "ACCOUNT_QUEUE_FULL") as refusal:
        await tasks.SubmitTask(plain)
    assert refusal.metadata == {"account_id": str(account_id)}
    assert refusal.retry_after


@pytest.mark.parametrize("weight", [0.0, -1.0, 5e-324, 0.000_000_9, 1_000.1, math.nan, math.inf, -math.inf])
async def test_a_bad_account_is_refused_with_every_bad_field(accounts: AccountServiceAsyncStub, weight: float) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.CreateAccount(pb.CreateAccountRequest(name=" ", max_concurrent_tasks=-1, weight=weight))
    assert refusal.fields == ["name", "max_concurrent_tasks", "weight"]
    assert not (await accounts.ListAccounts(pb.ListAccountsRequest())).accounts


@pytest.mark.parametrize("name", ["n" * 201, "nul \0"])
async def test_a_name_that_is_too_long_is_refused(accounts: AccountServiceAsyncStub, name: str) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.CreateAccount(pb.CreateAccountRequest(name=name))
    assert refusal.fields == ["name"]


@pytest.mark.parametrize("weight", [0.000_001, 1_000.0])
async def test_accounts_of_the_smallest_and_the_largest_weight_accept_tasks(
    accounts: AccountServiceAsyncStub, tasks: TaskServiceAsyncStub, weight: float
) -> None:
    created = (await accounts.CreateAccount(pb.CreateAccountRequest(name="an account", weight=weight))).account
    requests = [task_pb.SubmitTaskRequest(account_id=created.account_id, topic="a topic")] * 300
    await tasks.BatchSubmitTasks(task_pb.BatchSubmitTasksRequest(requests=requests))
    account = pb.Account(account_id=created.account_id, weight=1_000.0 if weight < 1 else 0.000_001)
    change = pb.UpdateAccountRequest(account=account, update_mask=FieldMask(paths=["weight"]))
    assert (await accounts.UpdateAccount(change)).account.weight == account.weight


async def test_an_unknown_account_is_not_found(accounts: AccountServiceAsyncStub) -> None:
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await accounts.GetAccount(pb.GetAccountRequest(account_id=2**63 - 1))
    assert refusal.metadata == {"resource_type": "account", "resource_id": str(2**63 - 1)}


@pytest.mark.parametrize("account_id", [0, -1])
async def test_an_account_id_is_required(accounts: AccountServiceAsyncStub, account_id: int) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.GetAccount(pb.GetAccountRequest(account_id=account_id))
    assert refusal.fields == ["account_id"]


async def test_pages_list_all_accounts_by_id(accounts: AccountServiceAsyncStub) -> None:
    created = [(await accounts.CreateAccount(pb.CreateAccountRequest(name=f"a{i}"))).account for i in range(5)]
    seen: list[pb.Account] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = await accounts.ListAccounts(pb.ListAccountsRequest(page_size=2, page_token=token))
        seen += page.accounts
        token, pages = page.next_page_token, pages + 1
    assert seen == created
    assert pages == 3


async def test_a_list_names_a_bad_size_and_a_bad_token(accounts: AccountServiceAsyncStub) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.ListAccounts(pb.ListAccountsRequest(page_size=-1, page_token="garbage"))
    assert refusal.fields == ["page_size", "page_token"]


async def made(accounts: AccountServiceAsyncStub) -> pb.Account:
    request = pb.CreateAccountRequest(name="first", max_concurrent_tasks=4, weight=2.5)
    return (await accounts.CreateAccount(request)).account


def update(account: pb.Account, *paths: str, **values: object) -> pb.UpdateAccountRequest:
    """An update with `values`, and other values than the defaults in each field that the mask does not name."""
    spared = {"name": "spared", "max_concurrent_tasks": 77, "weight": 77.0, "active": not account.active}
    spared |= {"max_pending_tasks": 77, "max_priority": 7, "max_starts_per_minute": 77, "max_asset_bytes": 77}
    new = pb.Account(account_id=account.account_id, **(spared | values))  # type: ignore[arg-type]
    return pb.UpdateAccountRequest(account=new, update_mask=FieldMask(paths=paths))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "another"),
        ("max_concurrent_tasks", 0),
        ("weight", 0.5),
        ("active", False),
        ("max_pending_tasks", 10),
        ("max_priority", 10),
        ("max_starts_per_minute", 2**31 - 1),
        ("max_asset_bytes", 2**63 - 1),
    ],
)
async def test_an_update_changes_what_its_mask_names_and_nothing_else(
    accounts: AccountServiceAsyncStub, path: str, value: object
) -> None:
    account = await made(accounts)
    changed = (await accounts.UpdateAccount(update(account, path, **{path: value}))).account
    setattr(account, path, value)
    assert changed == account
    assert (await accounts.GetAccount(pb.GetAccountRequest(account_id=account.account_id))).account == account


async def test_an_update_changes_several_fields_of_one_account(accounts: AccountServiceAsyncStub) -> None:
    account, other = await made(accounts), await made(accounts)
    request = update(account, "weight", "name", "weight", weight=1_000.0, name="both")
    changed = (await accounts.UpdateAccount(request)).account
    assert (changed.weight, changed.name, changed.max_concurrent_tasks) == (1_000.0, "both", 4)
    assert list((await accounts.ListAccounts(pb.ListAccountsRequest())).accounts) == [changed, other]


async def test_an_update_without_a_mask_is_refused(accounts: AccountServiceAsyncStub) -> None:
    account = await made(accounts)
    for request in (update(account), pb.UpdateAccountRequest(account=account)):
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await accounts.UpdateAccount(request)
        assert refusal.fields == ["update_mask"]


async def test_an_update_names_every_unknown_path_and_every_bad_value(accounts: AccountServiceAsyncStub) -> None:
    account = await made(accounts)
    paths = ("nonsense", "weight", "account_id", "name", "max_concurrent_tasks", "*")
    request = update(account, *paths, weight=math.nan, name=" ", max_concurrent_tasks=-1)
    request.account.account_id = 0
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.UpdateAccount(request)
    assert refusal.fields == [
        "account.account_id",
        *(f"update_mask.paths[{i}]" for i in (0, 2, 5)),
        *(f"account.{field}" for field in ("name", "max_concurrent_tasks", "weight")),
    ]
    assert "nonsense" in refusal.message
    assert list((await accounts.ListAccounts(pb.ListAccountsRequest())).accounts) == [account]


async def test_a_mask_that_is_too_long_is_refused(accounts: AccountServiceAsyncStub) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.UpdateAccount(update(await made(accounts), *["active"] * 101))
    assert refusal.fields == ["update_mask.paths"]


async def test_a_deactivated_account_refuses_submits_until_it_is_active_again(
    accounts: AccountServiceAsyncStub, tasks: TaskServiceAsyncStub
) -> None:
    account = await made(accounts)
    submit = task_pb.SubmitTaskRequest(account_id=account.account_id, topic="a topic")
    waiting = (await tasks.SubmitTask(submit)).task
    for _ in range(2):
        request = pb.DeactivateAccountRequest(account_id=account.account_id)
        assert not (await accounts.DeactivateAccount(request)).account.active
    with refused(StatusCode.FAILED_PRECONDITION, "ACCOUNT_INACTIVE") as refusal:
        await tasks.SubmitTask(submit)
    assert refusal.metadata == {"account_id": str(account.account_id)}
    assert (await accounts.UpdateAccount(update(account, "active", active=True))).account == account
    assert (await tasks.SubmitTask(submit)).task.task_id > waiting.task_id


async def test_submitted_tasks_run_after_their_account_was_deactivated(
    accounts: AccountServiceAsyncStub, tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    submit = task_pb.SubmitTaskRequest(account_id=account, topic="a topic", auto_retry=False)
    task_id = (await tasks.SubmitTask(submit)).task.task_id
    await accounts.DeactivateAccount(pb.DeactivateAccountRequest(account_id=account))
    (lease,) = await worker.take()
    await worker.fail(lease)
    await tasks.RetryTask(task_pb.RetryTaskRequest(task_id=task_id))
    (lease,) = await worker.take()
    assert await worker.complete(lease) == worker_pb.UPDATE_OUTCOME_COMMITTED


async def test_an_unknown_account_is_neither_updated_nor_deactivated(accounts: AccountServiceAsyncStub) -> None:
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await accounts.UpdateAccount(update(pb.Account(account_id=99), "active"))
    assert refusal.metadata == {"resource_type": "account", "resource_id": "99"}
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await accounts.DeactivateAccount(pb.DeactivateAccountRequest(account_id=99))
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.DeactivateAccount(pb.DeactivateAccountRequest())
    assert refusal.fields == ["account_id"]
