"""What is paused, since when and by whom, as far as the audit tells."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from console_svc.web.sessions import Session
from contentgen import AuditEvent, DispatchStatus

MAX_EVENTS = 200
"""Of the newest pauses, to look for those that hold."""


@dataclass(frozen=True, slots=True)
class Pause:
    """`account_id` 0: of everything. `event`: the call that last asked for it; None if the user may not know it."""

    account_id: int
    event: AuditEvent | None


async def pauses(session: Session, dispatch: DispatchStatus) -> list[Pause]:
    """That of everything first. The scheduler keeps no reasons."""
    paused = [*([0] if dispatch["all_paused"] else []), *dispatch["paused_account_ids"]]
    events = await _events(session, set(paused)) if paused else {}
    return [Pause(account_id, events.get(account_id)) for account_id in paused]


async def _events(session: Session, wanted: set[int]) -> dict[int, AuditEvent]:
    found: dict[int, AuditEvent] = {}
    if not session.may("AuditService/ListAuditEvents"):
        return found
    numbers = count(1)
    async for event in session.client.iter_audit_events(method="WorkerPoolService/PauseDispatch"):
        if event["outcome"] == "OK":
            found.setdefault(event["account_id"] or 0, event)
        if wanted <= found.keys() or next(numbers) == MAX_EVENTS:
            break
    return found
