"""AccountService: accounts and their quotas."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import fields, replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from grpc import aio

from contentgen.v1 import account_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceServicer
from scheduler_svc.accounts import work
from scheduler_svc.domain.account import DEFAULT_WEIGHT, AccountChange, BudgetMode, NewAccount
from scheduler_svc.domain.task import MAX_PRIORITY
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.auditing import replaces
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.validation import MAX_INT32, MAX_INT64, MAX_NAME, Violations, checked_id, message_of

if TYPE_CHECKING:
    from scheduler_svc.holdings.erasure import Erasure
    from scheduler_svc.holdings.transfer import Transfer

Context = aio.ServicerContext[pb.ImportAccountRequest, pb.ImportAccountResponse]
MIN_WEIGHT, MAX_WEIGHT = 0.000_001, 1_000.0
"""A task adds 1 / weight to its account's virtual time: with a smaller weight sums would lose precision or overflow."""
MAX_COST = 1e12
_CURRENCY = re.compile("[A-Z]{3}")
_MAX_VALUES = {
    "max_concurrent_tasks": MAX_INT32,
    "max_pending_tasks": MAX_INT32,
    "max_priority": MAX_PRIORITY,
    "max_starts_per_minute": MAX_INT32,
    "max_asset_bytes": MAX_INT64,
}


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
        values = {field.name: getattr(request, field.name) for field in fields(NewAccount)}
        if not request.HasField("weight"):
            values["weight"] = DEFAULT_WEIGHT
        values["budget_mode"] = request.budget_mode or BudgetMode.SOFT
        new = NewAccount(**values)
        with Violations() as violations:
            _check(new, violations)
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
        before = await self._reads.run(lambda tx: tx.accounts.require(request.account.account_id))
        replaces(message_of(pb.Account, before))
        changed = await self._dispatch_calls.run(work.update_account, request.account.account_id, change)
        return pb.UpdateAccountResponse(account=message_of(pb.Account, changed))

    async def DeactivateAccount(
        self, request: pb.DeactivateAccountRequest, context: object
    ) -> pb.DeactivateAccountResponse:
        account_id = checked_id("account_id", request.account_id)
        changed = await self._operators.run(work.update_account, account_id, AccountChange(active=False))
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
    changeable = tuple(field.name for field in fields(AccountChange))
    paths = violations.mask("update_mask", request.update_mask, changeable)
    change = AccountChange(**{path: getattr(request.account, path) for path in paths})
    if change.budget_mode == 0:
        change = replace(change, budget_mode=BudgetMode.SOFT)
    violations.path = "account."
    _check(change, violations)
    return change


def _check(values: NewAccount | AccountChange, violations: Violations) -> None:
    if values.name is not None:
        violations.text("name", values.name, MAX_NAME, required=True)
    for name, maximum in _MAX_VALUES.items():
        value = getattr(values, name)
        if value is not None:
            violations.number(name, value, 0, maximum)
    if values.weight is not None and not MIN_WEIGHT <= values.weight <= MAX_WEIGHT:  # refuses NaN too
        violations.add("weight", f"must be {MIN_WEIGHT:f} to {MAX_WEIGHT:,.0f}, is {values.weight:g}")
    if values.max_cost_per_month is not None and not 0 <= values.max_cost_per_month <= MAX_COST:
        violations.add("max_cost_per_month", f"must be 0 to {MAX_COST:,.0f}, is {values.max_cost_per_month:g}")
    if values.budget_mode is not None and values.budget_mode not in tuple(BudgetMode):
        violations.add("budget_mode", "must be BUDGET_MODE_SOFT or BUDGET_MODE_HARD")
    if values.currency and not _CURRENCY.fullmatch(values.currency):
        violations.add("currency", "must be three capital letters, as of ISO 4217, such as CNY, or empty")
