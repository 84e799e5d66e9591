"""The claim: makes leases of the first ready tasks, for workers with capacity. The dispatcher runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler_svc.application.records import Grant
from scheduler_svc.domain.lease import share_out

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


@dataclass(frozen=True, slots=True)
class SessionCapacity:
    """A session's capacity as of its heartbeat of that number."""

    worker_id: str
    session_key: int
    heartbeat_number: int
    free: int
    half_open: bool = False
    """Its worker's circuit breaker is half-open: one task is to probe its CLI."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """Grants by session. `full`: more tasks may be ready, or some could not be given.

    `closed`: sessions that may get none (replaced or draining); `busy`: those whose rows are locked, mostly by a hello,
    so that their state is unknown. `short`: accounts whose windows need a refill; `urgent`: those for which the next
    claim waits. `locked_out`: another session holds the lock of dispatch.
    """

    grants: Mapping[int, list[Grant]]
    closed: frozenset[int]
    busy: frozenset[int]
    full: bool
    short: frozenset[int] = frozenset()
    urgent: frozenset[int] = frozenset()
    locked_out: bool = False


def claim(tx: Tx, capacities: Sequence[SessionCapacity], limit: int, ttl: float) -> Claimed:
    """Grants up to `limit` leases to these sessions, by priority and fairly, the emptiest worker first.

    Before that, each half-open session gets one. On an idle fleet other workers would always be emptier, and a worker
    whose CLI is repaired would never be probed.

    Each worker has at most one session among them. A hello that replaces one waits for this commit, and then sees its
    leases. A session's row is read only if there is a task for it.
    """
    workers = {it.session_key: it.worker_id for it in capacities}
    half_open = [it.session_key for it in capacities if it.half_open]
    slots = share_out({it.session_key: it.free for it in capacities}, limit, half_open)
    rows = tx.leases.claim([(workers[key], key) for key in slots], ttl)
    tx.signals.moved = bool(rows.grants)
    sessions = {it.worker_id: it.session_key for it in capacities}
    grants: dict[int, list[Grant]] = {}
    for grant in rows.grants:
        grants.setdefault(sessions[grant.worker_id], []).append(grant)
    full = bool(rows.closed or rows.busy) or len(rows.grants) == len(slots)
    return Claimed(grants, rows.closed, rows.busy, full, rows.short, rows.urgent, rows.locked_out)
