"""The accounts that tasks belong to. Operators only, but for reading. Layer: client."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.account_fields import AccountChanges, AccountLimits
from contentgen.client.assets import CHUNK, appearing
from contentgen.client.documents import value
from contentgen.client.methods import Methods, lists, plain, returns, returns_if_found, takes
from contentgen.client.results import Account, ErasedAccount, ImportedAccount
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages
from contentgen.v1 import account_service_pb2 as pb

ERASE_TIMEOUT = 50.0
"""Seconds that one call of an erasure may take, beyond the client's timeout."""
TRANSFER_TIMEOUT = 3_600.0
"""The same, of an export or an import."""


class AccountMethods(Methods):
    @returns(Account)
    @takes(AccountLimits)
    async def create_account(
        self, name: str, max_concurrent_tasks: int = 0, weight: float = 1.0, **more: Unpack[AccountLimits]
    ) -> pb.Account:
        """Creates an account, and returns it. What is None is as usual: without a limit.

        Args:
            name: for people.
            max_concurrent_tasks: how many of its tasks may run at once; 0: no limit.
            weight: its share beside other accounts, 0.000001 to 1,000.
            more: its other limits, by name: those of `AccountLimits`.

        Example:
            >>> account_id = client.create_account("新闻", max_concurrent_tasks=4)["account_id"]
        """
        first = {"name": name, "max_concurrent_tasks": max_concurrent_tasks, "weight": weight}
        request = pb.CreateAccountRequest(**first, **_given(more))  # type: ignore[arg-type] # by the fields' own names
        return (await self._call(self._stubs.accounts.CreateAccount, request)).account

    @returns_if_found(Account)
    async def get_account(self, account_id: int) -> pb.Account:
        """Returns an account, or None if it does not exist.

        Example:
            >>> if account := client.get_account(1):
            ...     print(account["name"])
        """
        request = pb.GetAccountRequest(account_id=account_id)
        return (await self._call(self._stubs.accounts.GetAccount, request)).account

    @lists(Account)
    def iter_accounts(self, *, page_size: int = PAGE_SIZE) -> Pages[pb.Account]:
        """Iterates over all accounts by id, which it reads page by page.

        Example:
            >>> names = [account["name"] for account in client.iter_accounts()]
        """
        request = pb.ListAccountsRequest(page_size=page_size)
        return Pages(self._transport, self._stubs.accounts.ListAccounts, request, lambda page: page.accounts)

    @returns(Account)
    @takes(AccountChanges)
    async def update_account(self, account_id: int, **changes: Unpack[AccountChanges]) -> pb.Account:
        """Changes an account, and returns it. What is None stays as it is.

        Args:
            account_id: the account.
            changes: new values of its fields, by name: those of `AccountChanges`.

        Raises:
            ResourceNotFoundException: the account does not exist.
            InvalidArgument: nothing to change, or a bad value.

        Example:
            >>> account = client.update_account(1, weight=2.0, active=True)
        """
        given = _given(changes)
        account = pb.Account(account_id=account_id, **given)
        request = pb.UpdateAccountRequest(account=account, update_mask=FieldMask(paths=given))
        return (await self._call(self._stubs.accounts.UpdateAccount, request)).account

    @returns(Account)
    async def deactivate_account(self, account_id: int) -> pb.Account:
        """Refuses new submits of an account, and returns it. What was submitted goes on.

        `update_account(account_id, active=True)` undoes it.

        Raises:
            ResourceNotFoundException: the account does not exist.

        Example:
            >>> account = client.deactivate_account(1)
        """
        request = pb.DeactivateAccountRequest(account_id=account_id)
        return (await self._call(self._stubs.accounts.DeactivateAccount, request)).account

    @returns(ErasedAccount)
    async def erase_account(self, account_id: int, *, dry_run: bool = False) -> pb.EraseAccountResponse:
        """Erases an account and all that belongs to it for some seconds, and returns what is left, by kind.

        Repeat it until it is `done`. It first deactivates the account, and cancels its tasks, running ones too. Nothing
        brings back what is erased.

        Args:
            account_id: the account.
            dry_run: only count what there is.

        Raises:
            ResourceNotFoundException: the account does not exist, or nothing of it is left.

        Example:
            >>> counts = client.erase_account(1, dry_run=True)["counts"]
        """
        request = pb.EraseAccountRequest(account_id=account_id, dry_run=dry_run)
        return await self._call(self._stubs.accounts.EraseAccount, request, waits=ERASE_TIMEOUT)

    @plain
    async def export_account(self, account_id: int, path: str | PathLike[str]) -> int:
        """Writes an account with all that belongs to it into an archive, and returns its bytes.

        The file appears once it is whole. Webhooks, channels and the audit are not in it.

        Raises:
            ResourceNotFoundException: the account does not exist.
            FailedPrecondition: attempts are running.
            OSError: the file can't be written.

        Example:
            >>> size = client.export_account(1, "account.tar")
        """
        call, request = self._stubs.accounts.ExportAccount, pb.ExportAccountRequest(account_id=account_id)
        with appearing(Path(path)) as file:
            stream = self._transport.stream(call, request, timeout=self._transport.timeout + TRANSFER_TIMEOUT)
            try:
                while (answer := await stream.read()) is not None:
                    file.write(answer.chunk)
            finally:
                stream.cancel()
            return file.tell()

    @returns(ImportedAccount)
    async def import_account(self, path: str | PathLike[str]) -> pb.ImportAccountResponse:
        """Stores an account from an archive, with all ids as they were, and returns it.

        Raises:
            InvalidArgument: the archive is damaged, or of a newer version.
            RequestError: code ALREADY_EXISTS if the account, or something of it, exists.
            OSError: the file can't be read.

        Example:
            >>> account = client.import_account("account.tar")["account"]
        """
        call: Any = self._stubs.accounts.ImportAccount  # which takes a stream of requests
        with Path(path).open("rb") as file:  # noqa: ASYNC230 - as quick as the reads, which gRPC does on a thread
            answer: pb.ImportAccountResponse = await self._call(call, _chunks(file), waits=TRANSFER_TIMEOUT)
        return answer


def _given(fields: AccountChanges | AccountLimits) -> dict[str, Any]:
    """Returns the values that are given, as messages have them."""
    given = {name: value for name, value in fields.items() if value is not None}
    enums = {name: pb.Account.DESCRIPTOR.fields_by_name[name].enum_type for name in given}
    return {name: value(enum, given[name]) if enum else given[name] for name, enum in enums.items()}  # type: ignore[arg-type]


def _chunks(file: BinaryIO) -> Iterator[pb.ImportAccountRequest]:
    while chunk := file.read(CHUNK):
        yield pb.ImportAccountRequest(chunk=chunk)
