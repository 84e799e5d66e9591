"""What is paused, since when and by whom; workers with what they run; schedulers that are silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from console_svc.web.sessions import Session
from contentgen import AuditEvent, DispatchStatus, System, Task, Worker

SILENT_HEARTBEATS = 6
MAX_SLOTS = 200
"""Cells of a worker."""
MAX_EVENTS = 200
"""Of the newest pauses, to look for those that hold."""


@dataclass(frozen=True, slots=True)
class Pause:
    """`account_id` 0: of everything. `event`: the call that last asked for it; None if the user may not know it."""

    account_id: int
    event: AuditEvent | None


async def pauses(session: Session, dispatch: DispatchStatus) -> list[Pause]:
    """Returns the pauses, that of everything first. The scheduler keeps no reasons."""
    account_ids = [*([0] if dispatch["all_paused"] else []), *dispatch["paused_account_ids"]]
    events = await _events(session, set(account_ids)) if account_ids else {}
    return [Pause(account_id, events.get(account_id)) for account_id in account_ids]


async def _events(session: Session, account_ids: set[int]) -> dict[int, AuditEvent]:
    events: dict[int, AuditEvent] = {}
    if not session.may("AuditService/ListAuditEvents"):
        return events
    numbers = count(1)
    async for event in session.client.iter_audit_events(method="WorkerPoolService/PauseDispatch"):
        if event["outcome"] == "OK":
            events.setdefault(event["account_id"] or 0, event)
        if account_ids <= events.keys() or next(numbers) == MAX_EVENTS:
            break
    return events


@dataclass(slots=True)
class Row:
    """A worker with the tasks that it has."""

    worker: Worker
    running: list[Task] = field(default_factory=list)
    ahead: list[Task] = field(default_factory=list)
    """What it got and has not begun."""

    @property
    def state(self) -> str:
        """One word for the many states of a `Worker`."""
        if not self.worker["connected"]:
            return "gone"
        if self.worker["draining"]:
            return "draining"
        return "unhealthy" if self.worker["unhealthy"] else "taking tasks"

    @property
    def free(self) -> int:
        """Slots with nothing in them; of a worker that is gone, none."""
        slots = self.worker["slots"] if self.worker["connected"] else 0
        return min(max(slots - len(self.running), 0), MAX_SLOTS)


def rows(workers: Sequence[Worker], tasks: Sequence[Task]) -> list[Row]:
    """In the order of the workers, those that are gone last; what was submitted first comes first."""
    rows_by_worker = {worker["worker_id"]: Row(worker) for worker in workers}
    for task in reversed(tasks):
        if row := rows_by_worker.get(task["worker_id"] or ""):
            (row.running if task["status"] == "processing" else row.ahead).append(task)
    return sorted(rows_by_worker.values(), key=lambda row: row.state == "gone")


def silent(system: System | None) -> set[str]:
    """The schedulers that have said nothing for some heartbeats: they are gone, and were not stopped."""
    if system is None:
        return set()
    patience = timedelta(seconds=SILENT_HEARTBEATS * (system["limits"]["heartbeat_interval"] or 10.0))
    now = datetime.now(UTC)
    return {
        replica["scheduler_id"]
        for replica in system["replicas"]
        if now - datetime.fromisoformat(replica["last_heartbeat_at"]) > patience
    }
