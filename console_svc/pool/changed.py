"""What a form changes of an entry of the publish pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.datastructures import FormData

from console_svc.web.numbers import MAX_COUNT, MAX_NUMBER, whole
from console_svc.web.times import moment
from console_svc.web.zones import zone_named

_MINUTES = len("2031-01-31T12:00")
"""What an input of a time has; what it was before may be more exact."""
_UNDO = {
    "content_id": "content_id",
    "zone": "zone",
    "when": "when_was",
    "when_was": "when",
    "priority": "priority_was",
    "priority_was": "priority",
}
"""The fields of a form that changes back what another one has changed, and which of its fields they take."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What a form changes of an entry. None: not that."""

    content_id: int
    priority: int | None
    time: datetime | None
    at_once: bool
    frees: bool
    """Whether it would wait for its time no longer, since the new one is past."""
    undo: Mapping[str, str]
    """The fields of a form that changes it back."""

    @classmethod
    def of(cls, form: FormData) -> Changed:
        """Raises ValueError."""
        texts = {name: str(text).strip() for name, text in form.items()}
        when, was = texts.get("when"), texts.get("when_was", "")
        changed = when is not None and when != was[:_MINUTES]
        zone = zone_named(texts.get("zone", ""))
        if zone is None:
            raise ValueError("zone")
        priority = texts.get("priority") or None
        time = moment(when, zone) if changed and when else None
        before = moment(was, zone) if was else None
        now = datetime.now(UTC)
        return cls(
            whole(texts.get("content_id", ""), 1, MAX_NUMBER),
            whole(priority, 0, MAX_COUNT) if priority and priority != texts.get("priority_was") else None,
            time,
            changed and not when,
            bool(time and before and time <= now < before),
            {name: texts.get(other, "") for name, other in _UNDO.items()},
        )

    @property
    def something(self) -> bool:
        return self.priority is not None or self.time is not None or self.at_once
