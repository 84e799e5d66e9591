"""WorkerPoolService: the workers, across all replicas."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from contentgen.v1 import worker_pool_service_pb2 as pb
from contentgen.v1.system_service_pb2 import Maintenance
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceServicer
from scheduler_svc.config import Settings
from scheduler_svc.dispatch import work as dispatch
from scheduler_svc.domain.worker import PoolWorker
from scheduler_svc.leases import sessions
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.validation import MAX_ITEMS, MAX_NAME, Violations, message_of

MAX_WORKERS = 20_000
"""The default page size; the limit of a page's bytes is mostly reached first."""

ToldMaintenance = Callable[[], Maintenance | None]


class WorkerPoolService(WorkerPoolServiceServicer):
    def __init__(self, calls: Calls, dispatch_calls: Calls, maintenance: ToldMaintenance, settings: Settings) -> None:
        """`dispatch_calls` run changes of what may be dispatched."""
        self._calls = calls
        self._dispatch_calls = dispatch_calls
        self._maintenance = maintenance
        self._settings = settings

    async def GetWorkerPool(self, request: pb.GetWorkerPoolRequest, context: object) -> pb.GetWorkerPoolResponse:
        with Violations() as violations:
            page = PageRequest.of_names(request, violations, "GetWorkerPool", default_size=MAX_WORKERS)
        pool = await self._calls.run(
            sessions.worker_pool, caller().scope, self._settings.lease_ttl, page.position or "", page.limit
        )
        workers, token = page.cut(pool.workers, _worker_message, attrgetter("worker_id"))
        return pb.GetWorkerPoolResponse(
            num_workers=pool.connected,
            active_workers=pool.active,
            total_queue_size=pool.queue_size,
            workers=workers,
            next_page_token=token,
        )

    async def DrainWorker(self, request: pb.DrainWorkerRequest, context: object) -> pb.DrainWorkerResponse:
        return pb.DrainWorkerResponse(worker=await self._drain(request.worker_id, drain=True))

    async def UndrainWorker(self, request: pb.UndrainWorkerRequest, context: object) -> pb.UndrainWorkerResponse:
        return pb.UndrainWorkerResponse(worker=await self._drain(request.worker_id, drain=False))

    async def _drain(self, worker_id: str, *, drain: bool) -> pb.Worker:
        with Violations() as violations:
            violations.text("worker_id", worker_id, MAX_NAME, required=True)
        return _worker_message(
            await self._calls.run(sessions.set_drain, worker_id, self._settings.lease_ttl, drain=drain)
        )

    async def ResizeWorker(self, request: pb.ResizeWorkerRequest, context: object) -> pb.ResizeWorkerResponse:
        with Violations() as violations:
            violations.text("worker_id", request.worker_id, MAX_NAME, required=True)
            violations.number("slots", request.slots, 1, MAX_ITEMS)
        worker = await self._calls.run(
            sessions.resize_worker, request.worker_id, request.slots, self._settings.lease_ttl
        )
        return pb.ResizeWorkerResponse(worker=_worker_message(worker))

    async def PauseDispatch(self, request: pb.PauseDispatchRequest, context: object) -> pb.PauseDispatchResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
        await self._dispatch_calls.run(dispatch.pause_dispatch, request.account_id)
        return pb.PauseDispatchResponse()

    async def ResumeDispatch(self, request: pb.ResumeDispatchRequest, context: object) -> pb.ResumeDispatchResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
        await self._dispatch_calls.run(dispatch.resume_dispatch, request.account_id)
        return pb.ResumeDispatchResponse()

    async def GetDispatchStatus(
        self, request: pb.GetDispatchStatusRequest, context: object
    ) -> pb.GetDispatchStatusResponse:
        status = await self._calls.run(dispatch.dispatch_status, caller().scope)
        return pb.GetDispatchStatusResponse(
            all_paused=status.all_paused,
            paused_account_ids=status.accounts,
            maintenance=self._maintenance(),
        )


def _worker_message(worker: PoolWorker) -> pb.Worker:
    return message_of(
        pb.Worker,
        worker,
        running=worker.connected and not worker.draining,
        unhealthy=worker.unhealthy_time is not None,
    )
