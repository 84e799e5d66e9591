"""Which tasks a list shows, and a bulk call moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.domain.lifecycle import Status


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Tasks for which all of these hold; None and empty: any."""

    scope: Scope = ALL
    statuses: frozenset[Status] = frozenset()
    """In one of these states."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """With all of these."""
    schedule_id: int | None = None
    error_reasons: tuple[str, ...] = ()
    """With an error of one of these reasons."""
    created_after: datetime | None = None
    """Then or later."""
    created_before: datetime | None = None
    """Earlier than that."""
    worker_id: str = ""
    """Whose present attempt, or else the last one, is or was with this worker."""
    topic: str = ""
    """With this text in the topic, whatever the case."""
    has_retries_left: bool = False
    deletable_since: datetime | None = None
    """Ended then or earlier, and no worker is still stopping it."""
