"""AccountService: whom tasks belong to. Part of `api`."""

from __future__ import annotations

from operator import attrgetter

from contentgen.v1 import account_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceServicer

from scheduler_svc.api import convert
from scheduler_svc.api.pages import Page
from scheduler_svc.api.unimplemented import unimplemented
from scheduler_svc.api.validation import MAX_NAME, Violations
from scheduler_svc.application import accounts, query
from scheduler_svc.application.calls import Calls

DEFAULT_WEIGHT = 1.0
MAX_WEIGHT = 1_000.0
MAX_INT32 = (1 << 31) - 1


class AccountService(AccountServiceServicer):
    """Each RPC: check the request, make the application call, convert the answer."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def CreateAccount(self, request: pb.CreateAccountRequest, context: object) -> pb.CreateAccountResponse:
        weight = request.weight if request.HasField("weight") else DEFAULT_WEIGHT
        with Violations() as bad:
            bad.text("name", request.name, MAX_NAME, required=True)
            bad.number("max_concurrent_tasks", request.max_concurrent_tasks, 0, MAX_INT32)
            if not 0 < weight <= MAX_WEIGHT:  # so that NaN is refused too
                bad.add("weight", f"must be above 0 and at most {MAX_WEIGHT:,.0f}, is {weight:g}")
        made = await self._calls.run(accounts.create_account, request.name, request.max_concurrent_tasks, weight)
        return pb.CreateAccountResponse(account=convert.account(made))

    async def GetAccount(self, request: pb.GetAccountRequest, context: object) -> pb.GetAccountResponse:
        with Violations() as bad:
            bad.id("account_id", request.account_id)
        account = await self._calls.run(query.get_account, request.account_id)
        return pb.GetAccountResponse(account=convert.account(account))

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: object) -> pb.ListAccountsResponse:
        with Violations() as bad:
            page = Page.of(request, bad, "ListAccounts")
        found = await self._calls.run(query.list_accounts, page.position or 0, page.limit)
        listed, token = page.cut(found, convert.account, attrgetter("account_id"))
        return pb.ListAccountsResponse(accounts=listed, next_page_token=token)

    UpdateAccount = DeactivateAccount = unimplemented
