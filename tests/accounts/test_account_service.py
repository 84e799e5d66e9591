"""AccountService over a real server on a real database."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.v1 import account_service_pb2 as pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from tests.api.cases import NOTHING, OWN, Bad, Good, missing, of
from tests.harness.client import bad_fields, pages_of
from tests.harness.maker import Maker, submitted
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import AccountServiceAsyncStub, TaskServiceAsyncStub
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

QUOTAS = {"max_pending_tasks": 9, "max_priority": 3, "max_starts_per_minute": 60, "max_asset_bytes": 2**40}
BUDGET = {"max_cost_per_month": 500.0, "budget_mode": pb.BUDGET_MODE_HARD, "currency": "CNY"}
NO_BUDGET = {"max_cost_per_month": 0.0, "budget_mode": pb.BUDGET_MODE_SOFT, "currency": ""}
DEFAULTS = {"max_concurrent_tasks": 0, "weight": 1.0, **dict.fromkeys(QUOTAS, 0), **NO_BUDGET}


@pytest.mark.parametrize(
    "fields",
    [{}, {"max_concurrent_tasks": 4, "weight": 2.5, **QUOTAS, **BUDGET}],
    ids=["by default without limits", "with all of them"],
)
async def test_an_account_is_made_read_and_listed(accounts: AccountServiceAsyncStub, fields: dict[str, Any]) -> None:
    before = time.time()
    account = (await accounts.CreateAccount(pb.CreateAccountRequest(name="新闻", **fields))).account
    assert (account.name, account.active, account.account_id >= 1) == ("新闻", True, True)
    assert {name: getattr(account, name) for name in DEFAULTS} == DEFAULTS | fields
    assert abs(account.create_time.ToSeconds() - before) < 60
    assert (await accounts.GetAccount(pb.GetAccountRequest(account_id=account.account_id))).account == account
    assert list((await accounts.ListAccounts(pb.ListAccountsRequest())).accounts) == [account]


async def test_a_bad_account_is_refused_with_every_bad_field(accounts: AccountServiceAsyncStub) -> None:
    negative: dict[str, Any] = dict.fromkeys(["max_concurrent_tasks", "max_pending_tasks", "max_starts_per_minute"], -1)
    request = pb.CreateAccountRequest(name=" ", **negative, max_priority=11, max_asset_bytes=-1, weight=0.000_000_9)
    request.MergeFrom(pb.CreateAccountRequest(max_cost_per_month=float("nan"), budget_mode=3, currency="yuan"))  # type: ignore[arg-type]
    with bad_fields("name", "max_concurrent_tasks", "weight", *QUOTAS, *BUDGET):
        await accounts.CreateAccount(request)
    assert not (await accounts.ListAccounts(pb.ListAccountsRequest())).accounts


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


async def test_pages_list_all_accounts_by_id(accounts: AccountServiceAsyncStub) -> None:
    created = [(await accounts.CreateAccount(pb.CreateAccountRequest(name=f"a{i}"))).account for i in range(5)]
    pages = await pages_of(accounts.ListAccounts, pb.ListAccountsRequest(page_size=2), "accounts")
    assert pages == [created[:2], created[2:4], created[4:]]


async def create_account(accounts: AccountServiceAsyncStub) -> pb.Account:
    request = pb.CreateAccountRequest(name="first", max_concurrent_tasks=4, weight=2.5)
    return (await accounts.CreateAccount(request)).account


def update(account: pb.Account, *paths: str, **values: object) -> pb.UpdateAccountRequest:
    """An update with `values`, and other values than the defaults in each field that the mask does not name."""
    spared = {"name": "spared", "max_concurrent_tasks": 77, "weight": 77.0, "active": not account.active}
    spared |= {"max_pending_tasks": 77, "max_priority": 7, "max_starts_per_minute": 77, "max_asset_bytes": 77}
    spared |= {"max_cost_per_month": 77.0, "budget_mode": pb.BUDGET_MODE_HARD, "currency": "EUR"}
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
        ("max_cost_per_month", 1e12),
        ("budget_mode", pb.BUDGET_MODE_HARD),
        ("currency", "CNY"),
    ],
)
async def test_an_update_changes_what_its_mask_names_and_nothing_else(
    accounts: AccountServiceAsyncStub, path: str, value: object
) -> None:
    account, other = await create_account(accounts), await create_account(accounts)
    changed = (await accounts.UpdateAccount(update(account, path, path, **{path: value}))).account
    setattr(account, path, value)
    assert changed == account
    assert list((await accounts.ListAccounts(pb.ListAccountsRequest())).accounts) == [account, other]


async def test_a_mask_that_is_too_long_is_refused(accounts: AccountServiceAsyncStub) -> None:
    with bad_fields("update_mask.paths"):
        await accounts.UpdateAccount(update(await create_account(accounts), *["active"] * 101))


async def test_submitted_tasks_run_after_their_account_was_deactivated(
    accounts: AccountServiceAsyncStub, tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account, auto_retry=False)
    await accounts.DeactivateAccount(pb.DeactivateAccountRequest(account_id=account))
    (lease,) = await worker.take()
    await worker.fail(lease)
    await tasks.RetryTask(task_pb.RetryTaskRequest(task_id=task_id))
    (lease,) = await worker.take()
    assert await worker.complete(lease) == worker_pb.UPDATE_OUTCOME_COMMITTED


async def test_a_result_that_uses_up_a_hard_budget_stops_the_next_start(
    accounts: AccountServiceAsyncStub, tasks: TaskServiceAsyncStub, maker: Maker
) -> None:
    limited = pb.Account(account_id=maker.account, max_cost_per_month=0.2, budget_mode=pb.BUDGET_MODE_HARD)
    mask = FieldMask(paths=["max_cost_per_month", "budget_mode"])
    await accounts.UpdateAccount(pb.UpdateAccountRequest(account=limited, update_mask=mask))
    await maker(usage={"cost": 0.25})
    account = (await accounts.GetAccount(pb.GetAccountRequest(account_id=maker.account))).account
    assert (account.month_cost, account.budget_used_up) == (0.25, True)

    async def stopped() -> bool:
        task_id = await submitted(tasks, maker.account)
        task = (await tasks.GetTask(task_pb.GetTaskRequest(task_id=task_id))).task
        return task.pending_reason == task_pb2.PENDING_REASON_BUDGET and task.HasField("next_attempt_time")

    await wait_until_async(stopped, within=5, what="nothing of the account starts")


# What tests/api calls: requests that are answered, and those that are refused.
LARGEST_QUOTAS = {
    "max_pending_tasks": 2_147_483_647,
    "max_priority": 10,
    "max_starts_per_minute": 2_147_483_647,
    "max_asset_bytes": "9223372036854775807",
}
LARGEST_BUDGET = {"max_cost_per_month": 1e12, "budget_mode": "BUDGET_MODE_HARD", "currency": "CNY"}
ACCOUNT = {
    "name": "新闻",
    "max_concurrent_tasks": 2_147_483_647,
    "weight": 1_000.0,
    "active": True,
    **LARGEST_QUOTAS,
    **LARGEST_BUDGET,
}
ALL_PATHS = "name,maxConcurrentTasks,weight,active,maxPendingTasks,maxPriority,maxStartsPerMinute,maxAssetBytes"
ALL_PATHS += ",maxCostPerMonth,budgetMode,currency"
GOOD = [
    Good("CreateAccount", {"name": "n"}, {"account": {"weight": 1.0, "active": True, "create_time": str}}),
    Good(
        "CreateAccount",
        {key: value for key, value in ACCOUNT.items() if key != "active"},
        {"account": {**ACCOUNT, "account_id": lambda number: int(number) > 0}},
    ),
    Good("GetAccount", {"account_id": OWN}, {"account": {"account_id": OWN, "max_concurrent_tasks": 0}}),
    Good("ListAccounts", {"page_size": 1}, {"accounts": [{"active": bool}], "next_page_token": str}),
    Good(
        "UpdateAccount",
        {"account": {**of(account="account"), **ACCOUNT}, "update_mask": ALL_PATHS},
        {"account": ACCOUNT},
    ),
    Good(
        "UpdateAccount",
        {"account": {**of(account="inactive"), "active": True}, "update_mask": "active"},
        {"account": {"name": "an account", "active": True}},
    ),
    Good("DeactivateAccount", of(account="account"), {"account": {"active": False}}),
    Good("EraseAccount", {"account_id": OWN, "dry_run": True}, {"counts": {"accounts": "1"}, "done": False}),
    Good("EraseAccount", of(account="account"), {"counts": {}, "done": True}),
]
BAD = [
    Bad("CreateAccount", {"max_concurrent_tasks": -1}, fields=("name", "max_concurrent_tasks")),
    Bad("CreateAccount", {"name": "n" * 201, "weight": 0}, fields=("name", "weight")),
    Bad("ListAccounts", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("UpdateAccount", {}, fields=("account.account_id", "update_mask")),
    Bad(
        "UpdateAccount",
        {"account": {"account_id": OWN}, "update_mask": "name,accountId,createTime"},
        fields=("update_mask.paths[1]", "update_mask.paths[2]", "account.name"),
    ),
    missing("UpdateAccount", {"account": {"account_id": NOTHING}, "update_mask": "active"}, "account"),
]
