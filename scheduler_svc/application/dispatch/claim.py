"""The claim: the head of what is ready becomes leases of the workers that have room. The work of the claim lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import Grant
from scheduler_svc.domain.lease import share_out


@dataclass(frozen=True, slots=True)
class SessionCapacity:
    """What one session would take now, as its state of that number says."""

    worker_id: str
    session_key: int
    heartbeat_number: int
    free: int
    half_open: bool = False
    """Its worker's CLI may be broken, and one task is to try it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """Grants by session; whether more may be ready, or was kept from who should have it.

    `closed`: sessions that may get nothing (replaced, or to drain); `busy`: those whose rows somebody holds, a hello
    for the most part, so that nothing is known of them now. `short`: accounts whose windows want to be filled again;
    `urgent`: those where the next claim waits for that.
    """

    grants: Mapping[int, list[Grant]]
    closed: frozenset[int]
    busy: frozenset[int]
    full: bool
    short: frozenset[int] = frozenset()
    urgent: frozenset[int] = frozenset()


def claim(tx: Tx, rooms: Sequence[SessionCapacity], limit: int, ttl: float) -> Claimed:
    """Grants up to `limit` leases to these sessions, by priority and fairly, the emptiest worker first.

    Before that one goes to each that is half open: on a quiet fleet others would always be emptier, and a worker whose
    CLI was mended would never be tried.

    A worker has one session among them at most. A hello that replaces one of them waits for this commit, and then sees
    its leases. A session is looked at only where there is something for it.
    """
    workers = {room.session_key: room.worker_id for room in rooms}
    half_open = [room.session_key for room in rooms if room.half_open]
    slots = share_out({room.session_key: room.free for room in rooms}, limit, half_open)
    rows = tx.leases.claim([(workers[key], key) for key in slots], ttl)
    tx.signals.moved = bool(rows.grants)
    sessions = {room.worker_id: room.session_key for room in rooms}
    grants: dict[int, list[Grant]] = {}
    for grant in rows.grants:
        grants.setdefault(sessions[grant.worker_id], []).append(grant)
    full = bool(rows.closed or rows.busy) or len(rows.grants) == len(slots)
    return Claimed(grants, rows.closed, rows.busy, full, rows.short, rows.urgent)
