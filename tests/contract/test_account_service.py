"""AccountService over a real server on a real database."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest
from contentgen.v1 import account_service_pb2 as pb
from grpc import StatusCode

from tests.contract.rpc_errors import refused

if TYPE_CHECKING:
    from contentgen.v1.account_service_pb2_grpc import AccountServiceAsyncStub


async def test_an_account_is_made_read_and_listed(accounts: AccountServiceAsyncStub) -> None:
    before = time.time()
    made = (
        await accounts.CreateAccount(pb.CreateAccountRequest(name="新闻", max_concurrent_tasks=4, weight=2.5))
    ).account
    assert (made.name, made.max_concurrent_tasks, made.weight, made.active) == ("新闻", 4, 2.5, True)
    assert made.account_id >= 1
    assert abs(made.create_time.ToSeconds() - before) < 60
    assert (await accounts.GetAccount(pb.GetAccountRequest(account_id=made.account_id))).account == made
    assert list((await accounts.ListAccounts(pb.ListAccountsRequest())).accounts) == [made]


async def test_an_account_has_no_limit_and_weight_1_by_default(accounts: AccountServiceAsyncStub) -> None:
    made = (await accounts.CreateAccount(pb.CreateAccountRequest(name="plain"))).account
    assert (made.max_concurrent_tasks, made.weight) == (0, 1.0)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1_000.1, math.nan, math.inf, -math.inf])
async def test_a_bad_account_is_refused_with_every_bad_field(accounts: AccountServiceAsyncStub, weight: float) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.CreateAccount(pb.CreateAccountRequest(name=" ", max_concurrent_tasks=-1, weight=weight))
    assert refusal.fields == ["name", "max_concurrent_tasks", "weight"]
    assert not (await accounts.ListAccounts(pb.ListAccountsRequest())).accounts


@pytest.mark.parametrize("name", ["n" * 201, "nul \0"])
async def test_a_name_is_bounded(accounts: AccountServiceAsyncStub, name: str) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.CreateAccount(pb.CreateAccountRequest(name=name))
    assert refusal.fields == ["name"]


async def test_an_unknown_account_is_not_found(accounts: AccountServiceAsyncStub) -> None:
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await accounts.GetAccount(pb.GetAccountRequest(account_id=2**63 - 1))
    assert refusal.metadata == {"resource_type": "account", "resource_id": str(2**63 - 1)}


@pytest.mark.parametrize("account_id", [0, -1])
async def test_an_account_id_is_required(accounts: AccountServiceAsyncStub, account_id: int) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.GetAccount(pb.GetAccountRequest(account_id=account_id))
    assert refusal.fields == ["account_id"]


async def test_pages_lead_through_all_accounts_by_id(accounts: AccountServiceAsyncStub) -> None:
    made = [(await accounts.CreateAccount(pb.CreateAccountRequest(name=f"a{i}"))).account for i in range(5)]
    seen: list[pb.Account] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = await accounts.ListAccounts(pb.ListAccountsRequest(page_size=2, page_token=token))
        seen += page.accounts
        token, pages = page.next_page_token, pages + 1
    assert seen == made
    assert pages == 3


async def test_a_list_names_a_bad_size_and_a_bad_token(accounts: AccountServiceAsyncStub) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await accounts.ListAccounts(pb.ListAccountsRequest(page_size=-1, page_token="garbage"))
    assert refusal.fields == ["page_size", "page_token"]


async def test_what_comes_later_says_so(accounts: AccountServiceAsyncStub) -> None:
    with refused(StatusCode.UNIMPLEMENTED) as refusal:
        await accounts.UpdateAccount(pb.UpdateAccountRequest())
    assert "does not serve this RPC yet" in refusal.message
    with refused(StatusCode.UNIMPLEMENTED):
        await accounts.DeactivateAccount(pb.DeactivateAccountRequest())
