"""AccountService: accounts and their quotas."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from grpc import aio

from contentgen.account_fields import BY_NAME
from contentgen.submit_fields import Kind
from contentgen.v1 import account_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceServicer
from scheduler_svc.accounts import work
from scheduler_svc.domain.account import AccountChange, AccountSettings, BudgetMode
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.auditing import replaces
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.validation import Violations, checked_id, message_of

if TYPE_CHECKING:
    from scheduler_svc.holdings.erasure import Erasure
    from scheduler_svc.holdings.transfer import Transfer

Context = aio.ServicerContext[pb.ImportAccountRequest, pb.ImportAccountResponse]
_CURRENCY = re.compile("[A-Z]{3}")
_NUMBERS = {Kind.WHOLE, Kind.NUMBER}


class AccountService(AccountServiceServicer):
    def __init__(
        self, reads: Calls, operators: Calls, dispatch_calls: Calls, erasure: Erasure, transfer: Transfer
    ) -> None:
        """`dispatch_calls` run changes of what may be dispatched."""
        self._erasure = erasure
        self._transfer = transfer
        self._reads = reads
        self._operators = operators
        self._dispatch_calls = dispatch_calls

    async def CreateAccount(self, request: pb.CreateAccountRequest, context: object) -> pb.CreateAccountResponse:
        names = {field.name for field in fields(AccountSettings)}
        if not request.HasField("weight"):
            names.remove("weight")
        with Violations() as violations:
            new = AccountSettings(**_checked(request, names, violations))
        account = await self._operators.run(work.create_account, new)
        return pb.CreateAccountResponse(account=message_of(pb.Account, account))

    async def GetAccount(self, request: pb.GetAccountRequest, context: object) -> pb.GetAccountResponse:
        account_id = checked_id("account_id", request.account_id)
        account = await self._reads.run(lambda tx: tx.accounts.require(account_id))
        return pb.GetAccountResponse(account=message_of(pb.Account, account))

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: object) -> pb.ListAccountsResponse:
        with Violations() as violations:
            page = PageRequest.of(request, violations, "ListAccounts")
        scope = caller().scope
        accounts = await self._reads.run(lambda tx: tx.accounts.list(scope, page.position or 0, page.limit))
        listed, token = page.cut(accounts, partial(message_of, pb.Account), attrgetter("account_id"))
        return pb.ListAccountsResponse(accounts=listed, next_page_token=token)

    async def UpdateAccount(self, request: pb.UpdateAccountRequest, context: object) -> pb.UpdateAccountResponse:
        with Violations() as violations:
            violations.id("account.account_id", request.account.account_id)
            change = _change(request, violations)
        before, changed = await self._dispatch_calls.run(work.update_account, request.account.account_id, change)
        replaces(message_of(pb.Account, before))
        return pb.UpdateAccountResponse(account=message_of(pb.Account, changed))

    async def DeactivateAccount(
        self, request: pb.DeactivateAccountRequest, context: object
    ) -> pb.DeactivateAccountResponse:
        account_id = checked_id("account_id", request.account_id)
        _, changed = await self._operators.run(work.update_account, account_id, AccountChange(active=False))
        return pb.DeactivateAccountResponse(account=message_of(pb.Account, changed))

    async def EraseAccount(self, request: pb.EraseAccountRequest, context: object) -> pb.EraseAccountResponse:
        account_id = checked_id("account_id", request.account_id)
        if request.dry_run:
            return pb.EraseAccountResponse(counts=await self._erasure.count(account_id))
        left = await self._erasure.erase(account_id)
        return pb.EraseAccountResponse(counts=left, done=not left)

    async def ExportAccount(
        self, request: pb.ExportAccountRequest, context: object
    ) -> AsyncGenerator[pb.ExportAccountResponse, None]:
        account_id = checked_id("account_id", request.account_id)
        async with aclosing(self._transfer.export(account_id)) as pieces:
            async for piece in pieces:
                yield pb.ExportAccountResponse(chunk=piece)

    async def ImportAccount(self, requests: object, context: Context) -> pb.ImportAccountResponse:
        account, counts = await self._transfer.receive(context)
        return pb.ImportAccountResponse(account=message_of(pb.Account, account), counts=counts)


def _change(request: pb.UpdateAccountRequest, violations: Violations) -> AccountChange:
    """Returns the values of the fields that the mask names."""
    paths = violations.mask("update_mask", request.update_mask, tuple(BY_NAME))
    violations.path = "account."
    return AccountChange(**_checked(request.account, paths, violations))


def _checked(message: pb.CreateAccountRequest | pb.Account, names: Collection[str], bad: Violations) -> dict[str, Any]:
    """Returns these fields of a message; what is wrong with them is added to `bad`."""
    values = {name: getattr(message, name) for name in BY_NAME if name in names}
    for name, value in values.items():
        field = BY_NAME[name]
        if field.kind in _NUMBERS:
            bad.number(name, value, field.least, field.most)
        elif field.kind is Kind.CHOICE:
            values[name] = bad.status(name, value, BudgetMode) or BudgetMode.SOFT
        elif name == "currency" and value and not _CURRENCY.fullmatch(value):
            bad.add(name, "must be three capital letters, as of ISO 4217, such as CNY, or empty")
        elif name == "name":
            bad.text(name, value, int(field.most), required=True)
    return values
