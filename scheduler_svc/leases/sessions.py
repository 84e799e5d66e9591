"""Sessions of workers, and the pool of all replicas' workers.

A hello opens its worker's session, keeps the leases that it names, and ends the others (rules 1 to 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.errors import SessionReplaced, WorkerIdInUse, existing
from scheduler_svc.domain.lease import HelloVerdict, LeaseEnd, judge_hello
from scheduler_svc.domain.lifecycle import WORKER_LOST, Move, Status
from scheduler_svc.domain.resolution import Cause, loss_cause
from scheduler_svc.domain.task import TaskError
from scheduler_svc.domain.worker import DesiredState, Hello, PoolWorker, WorkerPool
from scheduler_svc.history.work import Ledger
from scheduler_svc.leases.attempts import EndedLease, delete_revoked, end_attempts
from scheduler_svc.leases.rows import LiveLease, NamedLease

if TYPE_CHECKING:
    from scheduler_svc.config import Settings
    from scheduler_svc.transactions import Tx


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """An open session: which named leases are still the worker's, which are not, and its desired state.

    `skipped`: lost leases that another session has locked, so that nothing is known of them yet.
    """

    session_key: int
    keep: tuple[str, ...]
    drop: tuple[str, ...]
    desired_state: DesiredState
    skipped: tuple[str, ...] = ()


def open_session(
    tx: Tx, hello: Hello, settings: Settings, scheduler_id: str, *, skip_locked: bool = False
) -> OpenedSession:
    """Raises WorkerIdInUse, or SessionReplaced if this hello was delayed and a newer session is open.

    `skip_locked`: a locked lease stays as it is, and is kept if it is named: a later heartbeat decides. A lost one is
    to be named again.
    """
    session_key, desired_state, was_anothers = _open(tx, hello, settings, scheduler_id)
    leases = tx.leases.lock_of_worker(hello.worker_id, skip_locked=skip_locked)
    refs = set() if was_anothers else {held_lease.ref for held_lease in hello.held if held_lease.ref}
    died = frozenset[str]() if was_anothers else frozenset(hello.lost)
    _end(tx, [lease for lease in leases if lease.ref not in refs], died, settings.max_worker_losses)
    own_refs = {lease.ref for lease in leases if lease.ref in refs and not lease.revoked}
    if own_refs:
        tx.leases.renew([NamedLease(*ref, hello.worker_id) for ref in sorted(own_refs)], settings.lease_ttl)
    locked = _locked(tx, hello.worker_id, leases) if skip_locked else []
    own_refs |= {lease.ref for lease in locked if lease.ref in refs and not lease.revoked}
    revoked = sorted(lease.ref for lease in leases if lease.revoked and lease.ref in refs)
    if revoked:
        tx.leases.settle_revoked([hello.worker_id], revoked)
    return OpenedSession(
        session_key,
        tuple(held_lease.lease_id for held_lease in hello.held if held_lease.ref in own_refs),
        tuple(held_lease.lease_id for held_lease in hello.held if held_lease.ref not in own_refs),
        desired_state,
        tuple(lease.ref.lease_id for lease in locked if lease.ref.lease_id in died),
    )


def _locked(tx: Tx, worker_id: str, free_leases: list[LiveLease]) -> list[LiveLease]:
    free_refs = {lease.ref for lease in free_leases}
    return [lease for lease in tx.leases.of_worker(worker_id) if lease.ref not in free_refs]


def _open(tx: Tx, hello: Hello, settings: Settings, scheduler_id: str) -> tuple[int, DesiredState, bool]:
    """Returns the session, the worker's desired state, and whether the id was another identity's, whose leases then
    end.
    """
    while True:
        present = tx.workers.lock(hello.worker_id)
        match judge_hello(hello.folder_id, hello.session_number, present, settings.lease_ttl, hello.identity):
            case HelloVerdict.STALE:
                raise SessionReplaced(hello.worker_id)
            case HelloVerdict.IN_USE:
                raise WorkerIdInUse(hello.worker_id, present.hostname if present else "")
        opened = tx.workers.open(hello, scheduler_id, replace=present is not None)
        if opened is not None:
            return *opened, present is not None and present.belongs_to_another(hello.identity)


def _end(tx: Tx, unnamed: list[LiveLease], died: frozenset[str], max_losses: int) -> None:
    """Ends leases that the worker no longer holds: lost if their CLI died with the worker, else released."""
    delete_revoked(tx, [lease for lease in unnamed if lease.revoked])
    ledger = Ledger(tx)
    ended = [EndedLease(lease, _cause(lease, died)) for lease in unnamed if not lease.revoked]
    end_attempts(tx, ledger, ended, max_losses)
    ledger.write()


def _cause(lease: LiveLease, died: frozenset[str]) -> Cause:
    if lease.ref.lease_id in died:
        return loss_cause("its worker ended while its CLI ran")
    if lease.status is Status.SUBMITTED:
        return Cause(Move.RELEASE, LeaseEnd.RELEASED, "NOT_HELD")
    error = TaskError(WORKER_LOST, "its worker does not hold it any more")
    return Cause(Move.LOSE, LeaseEnd.RELEASED, WORKER_LOST, error, counted=False)


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


def set_drain(tx: Tx, worker_id: str, lease_ttl: float, *, drain: bool) -> PoolWorker:
    """Sets whether a worker drains, which it learns with each acknowledgement. It gets an order to drain at once.

    Raises NotFound.
    """
    tx.workers.want_drain(worker_id, drain=drain)
    worker = _worker(tx, worker_id, lease_ttl)
    if drain:
        tx.signals.drained.append(worker_id)
    return worker


def resize_worker(tx: Tx, worker_id: str, slots: int, lease_ttl: float) -> PoolWorker:
    """Sets a worker's number of slots, which it learns by an order, and with each acknowledgement. Raises NotFound."""
    tx.workers.want_slots(worker_id, slots)
    worker = _worker(tx, worker_id, lease_ttl)
    tx.signals.resized.append((worker_id, slots))
    return worker


def _worker(tx: Tx, worker_id: str, lease_ttl: float) -> PoolWorker:
    return existing(tx.workers.get(worker_id, lease_ttl), "worker", worker_id)
