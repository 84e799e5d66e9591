"""The workers of all schedulers, and dispatch to them. Operators only, but for reading. Layer: client."""

from __future__ import annotations

from contentgen.client.methods import Methods, plain, returns
from contentgen.client.results import DispatchStatus, Worker, WorkerPool
from contentgen.client.transport import Pages
from contentgen.v1 import worker_pool_service_pb2 as pb


class WorkerPoolMethods(Methods):
    @returns(WorkerPool)
    async def get_worker_pool_status(self) -> pb.GetWorkerPoolResponse:
        """Returns the workers of all schedulers, which it reads page by page.

        Example:
            >>> pool = client.get_worker_pool_status()
            >>> print(pool["active_workers"], "of", pool["num_workers"], "workers are busy")
        """
        request, pool = pb.GetWorkerPoolRequest(), pb.GetWorkerPoolResponse()
        async for page in Pages(self._transport, self._stubs.pool.GetWorkerPool, request, lambda page: [page]):
            pool.MergeFrom(page)  # lists add up
            pool.num_workers, pool.active_workers = page.num_workers, page.active_workers
            pool.total_queue_size, pool.next_page_token = page.total_queue_size, page.next_page_token
        return pool

    @returns(Worker)
    async def drain_worker(self, worker_id: str) -> pb.Worker:
        """Lets a worker finish what runs and take nothing new, until `undrain_worker` or the end of its process.

        Returns the worker, perhaps still busy.

        Raises:
            ResourceNotFoundException: the worker does not exist.

        Example:
            >>> worker = client.drain_worker(worker_id)
        """
        request = pb.DrainWorkerRequest(worker_id=worker_id)
        return (await self._call(self._stubs.pool.DrainWorker, request)).worker

    @returns(Worker)
    async def undrain_worker(self, worker_id: str) -> pb.Worker:
        """Undoes a `drain_worker`. Returns the worker, which follows within a heartbeat interval.

        Raises:
            ResourceNotFoundException: the worker does not exist.

        Example:
            >>> worker = client.undrain_worker(worker_id)
        """
        request = pb.UndrainWorkerRequest(worker_id=worker_id)
        return (await self._call(self._stubs.pool.UndrainWorker, request)).worker

    @returns(Worker)
    async def resize_worker(self, worker_id: str, slots: int) -> pb.Worker:
        """Changes how many CLIs a worker runs at once, until its process ends. Returns the worker.

        Raises:
            ResourceNotFoundException: the worker does not exist.

        Example:
            >>> worker = client.resize_worker(worker_id, slots=4)
        """
        request = pb.ResizeWorkerRequest(worker_id=worker_id, slots=slots)
        return (await self._call(self._stubs.pool.ResizeWorker, request)).worker

    @plain
    async def pause_dispatch(self, account_id: int | None = None) -> None:
        """Stops dispatch, of an account or of everything, until `resume_dispatch`. What runs goes on.

        Raises:
            ResourceNotFoundException: the account does not exist.

        Example:
            >>> client.pause_dispatch(account_id=1)
        """
        await self._call(self._stubs.pool.PauseDispatch, pb.PauseDispatchRequest(account_id=account_id or 0))

    @plain
    async def resume_dispatch(self, account_id: int | None = None) -> None:
        """Undoes a `pause_dispatch` of the same account, or of everything.

        Raises:
            ResourceNotFoundException: the account does not exist.

        Example:
            >>> client.resume_dispatch(account_id=1)
        """
        await self._call(self._stubs.pool.ResumeDispatch, pb.ResumeDispatchRequest(account_id=account_id or 0))

    @returns(DispatchStatus)
    async def get_dispatch_status(self) -> pb.GetDispatchStatusResponse:
        """Returns what is paused. A token that is tied to accounts sees only these, and the pause of everything.

        Example:
            >>> if client.get_dispatch_status()["all_paused"]:
            ...     client.resume_dispatch()
        """
        return await self._call(self._stubs.pool.GetDispatchStatus, pb.GetDispatchStatusRequest())
