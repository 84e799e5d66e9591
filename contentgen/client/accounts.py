"""Accounts, and the workers that serve them. Layer: client."""

from __future__ import annotations

from collections.abc import Iterator

from contentgen.client import documents
from contentgen.client.connection import Connected
from contentgen.client.documents import Document
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.worker_pool import whole_pool
from contentgen.v1 import account_service_pb2 as account_pb


class AccountMethods(Connected):
    def create_account(
        self,
        name: str,
        max_concurrent_tasks: int = 0,
        weight: float = 1.0,
        *,
        max_pending_tasks: int = 0,
        max_priority: int = 0,
        max_starts_per_minute: int = 0,
    ) -> Document:
        """A new account. Operators only, where tokens are asked.

        Args:
            name: for people.
            max_concurrent_tasks: how many of its tasks may run at once; 0: no limit.
            weight: its share beside other accounts, 0.000001 to 1,000.
            max_pending_tasks: how many of its tasks may be pending, scheduled ones included; 0: no limit.
            max_priority: the highest priority that its submits may ask for, 1 to 10; 0: no limit. Below 5 each submit
                has to name one.
            max_starts_per_minute: how many attempts may start within any minute; 0: no limit.

        Example:
            >>> account_id = client.create_account("新闻", max_concurrent_tasks=4)["account_id"]
        """
        request = account_pb.CreateAccountRequest(
            name=name,
            max_concurrent_tasks=max_concurrent_tasks,
            weight=weight,
            max_pending_tasks=max_pending_tasks,
            max_priority=max_priority,
            max_starts_per_minute=max_starts_per_minute,
        )
        return documents.account(self._connection.call(self._connection.accounts.CreateAccount, request).account)

    def iter_accounts(self) -> Iterator[Document]:
        """All accounts by id, fetched page by page.

        `account_id`, `name`, `max_concurrent_tasks`, `weight`, `max_pending_tasks`, `max_priority`,
        `max_starts_per_minute`, `active`, `created_at` (ISO 8601 with zone).

        Example:
            >>> names = [account["name"] for account in client.iter_accounts()]
        """
        request = account_pb.ListAccountsRequest(page_size=PAGE_SIZE)
        for page in self._connection.call.pages(self._connection.accounts.ListAccounts, request):
            yield from map(documents.account, page.accounts)


class WorkerMethods(Connected):
    def get_worker_pool_status(self) -> Document:
        """The workers of all schedulers, fetched page by page.

        `num_workers` (connected), `active_workers` (with a busy slot), `total_queue_size` (pending tasks),
        `total_slots`, `worker_statuses`: of each `worker_id`, `running` (connected and not draining), `queue_size`
        (leases ahead of a slot), `slots`, `busy_slots`.

        Example:
            >>> pool = client.get_worker_pool_status()
            >>> print(pool["active_workers"], "of", pool["num_workers"], "workers are busy")
        """
        return documents.worker_pool(whole_pool(self._connection.call, self._connection.pool.GetWorkerPool))
