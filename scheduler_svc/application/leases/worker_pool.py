"""GetWorkerPool, DrainWorker, ResizeWorker: the workers of all replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.worker import PoolWorker, WorkerPool

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def worker_pool(tx: Tx, scope: Scope, lease_ttl: float, after: str, limit: int) -> WorkerPool:
    """Returns workers active within the last hour with ids above `after`, and counts; pending tasks are those of
    `scope`.
    """
    pending = tx.counts.read(scope).get(Status.PENDING, 0)
    connected, active = tx.workers.count(lease_ttl)
    workers = tx.workers.list(lease_ttl, after, limit)
    if scope != ALL:
        workers = [worker.without_error() for worker in workers]
    return WorkerPool(tuple(workers), connected, active, pending)


def drain_worker(tx: Tx, worker_id: str, lease_ttl: float) -> PoolWorker:
    """Sets that a worker drains; it gets an order at once, and the state with each acknowledgement. Raises NotFound."""
    if not tx.workers.want_drain(worker_id, drain=True):
        raise NotFound("worker", worker_id)
    tx.signals.drained.append(worker_id)
    return _worker(tx, worker_id, lease_ttl)


def undrain_worker(tx: Tx, worker_id: str, lease_ttl: float) -> PoolWorker:
    """Undoes `drain_worker`; the worker learns it from the next acknowledgement. Raises NotFound."""
    if not tx.workers.want_drain(worker_id, drain=False):
        raise NotFound("worker", worker_id)
    return _worker(tx, worker_id, lease_ttl)


def resize_worker(tx: Tx, worker_id: str, slots: int, lease_ttl: float) -> PoolWorker:
    """Sets a worker's number of slots, which it learns as in `drain_worker`. Raises NotFound."""
    if not tx.workers.want_slots(worker_id, slots):
        raise NotFound("worker", worker_id)
    tx.signals.resized.append((worker_id, slots))
    return _worker(tx, worker_id, lease_ttl)


def _worker(tx: Tx, worker_id: str, lease_ttl: float) -> PoolWorker:
    worker = tx.workers.get(worker_id, lease_ttl)
    assert worker is not None
    return worker
