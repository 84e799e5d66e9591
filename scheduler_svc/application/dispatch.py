"""The claim: the head of what is ready becomes leases of the workers that have room. The work of the claim lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler_svc.application.ledger import Ledger
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import Grant
from scheduler_svc.domain.lease import share_out
from scheduler_svc.domain.lifecycle import Status


@dataclass(frozen=True, slots=True)
class Room:
    """What one session would take now, as its state of that number says."""

    worker_id: str
    session_key: int
    state_number: int
    free: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """Grants by session; sessions that may get nothing (replaced, or to drain); whether more may be ready."""

    grants: Mapping[int, list[Grant]]
    closed: frozenset[int]
    full: bool


def claim(tx: Tx, rooms: Sequence[Room], limit: int, ttl: float) -> Claimed:
    """Grants up to `limit` leases to these sessions, by priority and fairly, the emptiest worker first.

    A hello that replaces one of the sessions waits for this commit, and then sees its leases.
    """
    granted_to = tx.workers.lock_sessions(sorted((room.worker_id, room.session_key) for room in rooms))
    closed = frozenset(room.session_key for room in rooms) - granted_to
    workers = {room.session_key: room.worker_id for room in rooms if room.session_key in granted_to}
    slots = share_out({room.session_key: room.free for room in rooms if room.session_key in granted_to}, limit)
    if not slots:
        return Claimed({}, closed, full=True)  # nobody looked
    grants = tx.leases.claim([workers[key] for key in slots], ttl)
    _record(tx, grants)
    sessions = {worker_id: key for key, worker_id in workers.items()}
    by_session: dict[int, list[Grant]] = {}
    for grant in grants:
        by_session.setdefault(sessions[grant.worker_id], []).append(grant)
    return Claimed(by_session, closed, full=len(grants) == len(slots))


def _record(tx: Tx, grants: Sequence[Grant]) -> None:
    if not grants:
        return
    ledger = Ledger(tx)
    for grant in grants:
        ledger.move(
            grant.ref.task_key,
            grant.account_id,
            Status.PENDING,
            Status.SUBMITTED,
            "LEASED",
            ref=grant.ref,
            worker_id=grant.worker_id,
        )
    for account_id, count in Counter(grant.account_id for grant in grants).items():
        ledger.left_ready(account_id, count)
    ledger.write()
