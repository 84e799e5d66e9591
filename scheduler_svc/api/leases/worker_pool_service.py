"""WorkerPoolService: the workers, across all replicas. Part of `api`."""

from __future__ import annotations

from operator import attrgetter

from contentgen.v1 import worker_pool_service_pb2 as pb
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceServicer
from scheduler_svc.api.access.auth import caller
from scheduler_svc.api.messages import convert
from scheduler_svc.api.messages.pages import PageRequest
from scheduler_svc.api.messages.validation import MAX_ITEMS, MAX_NAME, Violations
from scheduler_svc.application.calls import Calls
from scheduler_svc.application.dispatch import pauses
from scheduler_svc.application.leases import worker_pool

MAX_WORKERS = 20_000
"""The default page size; the limit of a page's bytes is mostly reached first."""


class WorkerPoolService(WorkerPoolServiceServicer):
    def __init__(self, calls: Calls, dispatch_calls: Calls, lease_ttl: float) -> None:
        """`dispatch_calls` run changes of what may be dispatched; `lease_ttl` is in seconds."""
        self._calls = calls
        self._dispatch_calls = dispatch_calls
        self._lease_ttl = lease_ttl

    async def GetWorkerPool(self, request: pb.GetWorkerPoolRequest, context: object) -> pb.GetWorkerPoolResponse:
        with Violations() as bad:
            page = PageRequest.of_names(request, bad, "GetWorkerPool", default_size=MAX_WORKERS)
        found = await self._calls.run(
            worker_pool.worker_pool, caller().scope, self._lease_ttl, page.position or "", page.limit
        )
        workers, token = page.cut(found.workers, convert.worker, attrgetter("worker_id"))
        return pb.GetWorkerPoolResponse(
            num_workers=found.connected,
            active_workers=found.active,
            total_queue_size=found.queue_size,
            workers=workers,
            next_page_token=token,
        )

    async def DrainWorker(self, request: pb.DrainWorkerRequest, context: object) -> pb.DrainWorkerResponse:
        with Violations() as bad:
            bad.text("worker_id", request.worker_id, MAX_NAME, required=True)
        worker = await self._calls.run(worker_pool.drain_worker, request.worker_id, self._lease_ttl)
        return pb.DrainWorkerResponse(worker=convert.worker(worker))

    async def UndrainWorker(self, request: pb.UndrainWorkerRequest, context: object) -> pb.UndrainWorkerResponse:
        with Violations() as bad:
            bad.text("worker_id", request.worker_id, MAX_NAME, required=True)
        worker = await self._calls.run(worker_pool.undrain_worker, request.worker_id, self._lease_ttl)
        return pb.UndrainWorkerResponse(worker=convert.worker(worker))

    async def ResizeWorker(self, request: pb.ResizeWorkerRequest, context: object) -> pb.ResizeWorkerResponse:
        with Violations() as bad:
            bad.text("worker_id", request.worker_id, MAX_NAME, required=True)
            bad.number("slots", request.slots, 1, MAX_ITEMS)
        worker = await self._calls.run(worker_pool.resize_worker, request.worker_id, request.slots, self._lease_ttl)
        return pb.ResizeWorkerResponse(worker=convert.worker(worker))

    async def PauseDispatch(self, request: pb.PauseDispatchRequest, context: object) -> pb.PauseDispatchResponse:
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
        _check_dispatch_of(request.account_id)
        await self._dispatch_calls.run(pauses.pause_dispatch, request.account_id)
        return pb.PauseDispatchResponse()

    async def ResumeDispatch(self, request: pb.ResumeDispatchRequest, context: object) -> pb.ResumeDispatchResponse:
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
        _check_dispatch_of(request.account_id)
        await self._dispatch_calls.run(pauses.resume_dispatch, request.account_id)
        return pb.ResumeDispatchResponse()

    async def GetDispatchStatus(
        self, request: pb.GetDispatchStatusRequest, context: object
    ) -> pb.GetDispatchStatusResponse:
        found = await self._calls.run(pauses.dispatch_status, caller().scope)
        return pb.GetDispatchStatusResponse(all_paused=found.all_paused, paused_account_ids=found.accounts)


def _check_dispatch_of(account_id: int) -> None:
    """0 means all accounts, not those of the caller's token. Raises AccountForbidden."""
    if account_id == 0:
        caller().about_everyone("dispatch as a whole")
    caller().about(account_id)
