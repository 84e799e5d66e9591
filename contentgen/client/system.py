"""The schedulers and the workers, dispatch, who may call what, and who made which call. Layer: client.

For operators; others may read.
"""

from __future__ import annotations

from datetime import datetime

from contentgen.client.documents import timestamp
from contentgen.client.methods import Methods, lists, plain, returns
from contentgen.client.results import AuditEvent, Caller, DispatchStatus, System, Token, Worker, WorkerPool
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages
from contentgen.v1 import audit_service_pb2 as audit_pb
from contentgen.v1 import system_service_pb2 as system_pb
from contentgen.v1 import worker_pool_service_pb2 as worker_pool_pb


class SystemMethods(Methods):
    @returns(System)
    async def get_system(self) -> system_pb.GetSystemResponse:
        """Returns every scheduler with its work that waits, the sessions that hold locks, the database and the limits.

        Example:
            >>> away = [it["scheduler_id"] for it in client.get_system()["replicas"] if not it["serving"]]
        """
        return await self._call(self._stubs.system.GetSystem, system_pb.GetSystemRequest())

    @returns(Caller)
    async def get_caller(self) -> system_pb.GetCallerResponse:
        """Returns whose token the client has, and which RPCs it may call. Every role may ask.

        Example:
            >>> may_submit = "TaskService/SubmitTask" in client.get_caller()["methods"]
        """
        return await self._call(self._stubs.system.GetCaller, system_pb.GetCallerRequest())

    @lists(Token)
    def iter_tokens(self, *, page_size: int = PAGE_SIZE) -> Pages[system_pb.Token]:
        """Iterates over the names of the tokens file with their rights, which it reads page by page.

        Example:
            >>> operators = [token["name"] for token in client.iter_tokens() if token["role"] == "operator"]
        """
        request = system_pb.ListTokensRequest(page_size=page_size)
        return Pages(self._transport, self._stubs.system.ListTokens, request, lambda page: page.tokens)

    @returns(Token)
    async def revoke_token(self, name: str) -> system_pb.Token:
        """Revokes all tokens of a name for good, for all schedulers. Returns what has become of them.

        Raises:
            ResourceNotFoundException: the tokens file has none of this name.

        Example:
            >>> for token in client.iter_tokens():
            ...     if token["name"] == "former-colleague":
            ...         client.revoke_token(token["name"])
        """
        request = system_pb.RevokeTokenRequest(name=name)
        return (await self._call(self._stubs.system.RevokeToken, request)).token

    @plain
    async def set_maintenance(self, until_time: datetime | str | None = None, *, reason: str = "") -> None:
        """Turns maintenance on until that time, or off: meanwhile submits are refused, and all else goes on.

        Submits raise Unavailable then, with the reason `MAINTENANCE`, after a few tries. `get_dispatch_status` tells
        what holds.

        Args:
            until_time: at most 7 days ahead; a time without a zone is UTC. None: off.
            reason: for those whose submits are refused.

        Example:
            >>> from datetime import UTC, datetime, timedelta
            >>> client.set_maintenance(datetime.now(UTC) + timedelta(minutes=10), reason="new disks")
            >>> client.set_maintenance()
        """
        request = system_pb.SetMaintenanceRequest(until_time=timestamp(until_time), reason=reason)
        await self._call(self._stubs.system.SetMaintenance, request)


class WorkerPoolMethods(Methods):
    @returns(WorkerPool)
    async def get_worker_pool_status(self) -> worker_pool_pb.GetWorkerPoolResponse:
        """Returns the workers of all schedulers, which it reads page by page.

        Example:
            >>> pool = client.get_worker_pool_status()
            >>> print(pool["active_workers"], "of", pool["num_workers"], "workers are busy")
        """
        request, pool = worker_pool_pb.GetWorkerPoolRequest(), worker_pool_pb.GetWorkerPoolResponse()
        async for page in Pages(self._transport, self._stubs.pool.GetWorkerPool, request, lambda page: [page]):
            pool.MergeFrom(page)  # lists add up
            pool.num_workers, pool.active_workers = page.num_workers, page.active_workers
            pool.total_queue_size, pool.next_page_token = page.total_queue_size, page.next_page_token
        return pool

    @returns(Worker)
    async def drain_worker(self, worker_id: str) -> worker_pool_pb.Worker:
        """Lets a worker finish what runs and take nothing new, until `undrain_worker` or the end of its process.

        Returns the worker, perhaps still busy.

        Raises:
            ResourceNotFoundException: the worker does not exist.

        Example:
            >>> worker = client.drain_worker(worker_id)
        """
        request = worker_pool_pb.DrainWorkerRequest(worker_id=worker_id)
        return (await self._call(self._stubs.pool.DrainWorker, request)).worker

    @returns(Worker)
    async def undrain_worker(self, worker_id: str) -> worker_pool_pb.Worker:
        """Undoes a `drain_worker`. Returns the worker, which follows within a heartbeat interval.

        Raises:
            ResourceNotFoundException: the worker does not exist.

        Example:
            >>> worker = client.undrain_worker(worker_id)
        """
        request = worker_pool_pb.UndrainWorkerRequest(worker_id=worker_id)
        return (await self._call(self._stubs.pool.UndrainWorker, request)).worker

    @returns(Worker)
    async def resize_worker(self, worker_id: str, slots: int) -> worker_pool_pb.Worker:
        """Changes how many CLIs a worker runs at once, until its process ends. Returns the worker.

        Raises:
            ResourceNotFoundException: the worker does not exist.

        Example:
            >>> worker = client.resize_worker(worker_id, slots=4)
        """
        request = worker_pool_pb.ResizeWorkerRequest(worker_id=worker_id, slots=slots)
        return (await self._call(self._stubs.pool.ResizeWorker, request)).worker

    @plain
    async def pause_dispatch(self, account_id: int | None = None) -> None:
        """Stops dispatch, of an account or of everything, until `resume_dispatch`. Running tasks continue.

        Raises:
            ResourceNotFoundException: the account does not exist.

        Example:
            >>> client.pause_dispatch(account_id=1)
        """
        await self._call(
            self._stubs.pool.PauseDispatch, worker_pool_pb.PauseDispatchRequest(account_id=account_id or 0)
        )

    @plain
    async def resume_dispatch(self, account_id: int | None = None) -> None:
        """Undoes a `pause_dispatch` of the same account, or of everything.

        Raises:
            ResourceNotFoundException: the account does not exist.

        Example:
            >>> client.resume_dispatch(account_id=1)
        """
        await self._call(
            self._stubs.pool.ResumeDispatch, worker_pool_pb.ResumeDispatchRequest(account_id=account_id or 0)
        )

    @returns(DispatchStatus)
    async def get_dispatch_status(self) -> worker_pool_pb.GetDispatchStatusResponse:
        """Returns what is paused. A token that is tied to accounts sees only these, and the pause of everything.

        Example:
            >>> if client.get_dispatch_status()["all_paused"]:
            ...     client.resume_dispatch()
        """
        return await self._call(self._stubs.pool.GetDispatchStatus, worker_pool_pb.GetDispatchStatusRequest())


class AuditMethods(Methods):
    @lists(AuditEvent)
    def iter_audit_events(
        self,
        account_id: int | None = None,
        *,
        actor: str = "",
        method: str = "",
        start_time: datetime | str | None = None,
        end_time: datetime | str | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Pages[audit_pb.AuditEvent]:
        """Iterates over the calls that may have changed something, newest first, which it reads page by page.

        Args:
            account_id: None: of any account.
            actor: the name of a token, or `anonymous`; empty: anybody.
            method: such as `TaskService/CancelTask`; empty: any.
            start_time: then or later; a time without a zone is UTC.
            end_time: before then.
            page_size: how many are read at a time.

        Example:
            >>> for event in client.iter_audit_events(method="ContentService/DeleteContent"):
            ...     print(event["event_time"], event["actor"], event["resource"], event["outcome"])
        """
        request = audit_pb.ListAuditEventsRequest(
            account_id=account_id or 0,
            actor=actor,
            method=method,
            start_time=timestamp(start_time),
            end_time=timestamp(end_time),
            page_size=page_size,
        )
        return Pages(self._transport, self._stubs.audit.ListAuditEvents, request, lambda page: page.events)
