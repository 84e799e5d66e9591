"""The workers across all replicas."""

from __future__ import annotations

from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.worker import Worker, WorkerPool


def worker_pool(tx: Tx, scope: Scope, lease_ttl: float) -> WorkerPool:
    """Every worker heard of within the last hour, and how many tasks of these accounts are pending."""
    pending = tx.counts.read(scope).get(Status.PENDING, 0)
    workers = tx.workers.list(lease_ttl)
    if scope != ALL:
        workers = [worker.without_error() for worker in workers]
    return WorkerPool(tuple(workers), pending)


def drain_worker(tx: Tx, worker_id: str, lease_ttl: float) -> Worker:
    """Records that a worker should drain; it is told at once, and by each acknowledgement. Raises NotFound."""
    if not tx.workers.want_drain(worker_id):
        raise NotFound("worker", worker_id)
    tx.signals.drained.append(worker_id)
    return _worker(tx, worker_id, lease_ttl)


def resize_worker(tx: Tx, worker_id: str, slots: int, lease_ttl: float) -> Worker:
    """Records how many slots a worker should have; it is told as by `drain_worker`. Raises NotFound."""
    if not tx.workers.want_slots(worker_id, slots):
        raise NotFound("worker", worker_id)
    tx.signals.resized.append((worker_id, slots))
    return _worker(tx, worker_id, lease_ttl)


def _worker(tx: Tx, worker_id: str, lease_ttl: float) -> Worker:
    worker = tx.workers.get(worker_id, lease_ttl)
    assert worker is not None
    return worker
