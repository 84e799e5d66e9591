"""What a form changes of an entry of the publish pool."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from starlette.datastructures import FormData

from console_svc.web.zones import zone_named


@dataclass(frozen=True, slots=True)
class Changed:
    """What a form changes of an entry. None: not that."""

    content_id: int
    priority: int | None
    time: datetime | None
    at_once: bool

    @classmethod
    def of(cls, form: FormData) -> Changed:
        """Raises ValueError."""
        texts = {name: str(text).strip() for name, text in form.items()}
        when = texts.get("when")
        changed = when is not None and when != texts.get("when_was")
        zone = zone_named(texts.get("zone", ""))
        if zone is None:
            raise ValueError("zone")
        priority = texts.get("priority") or None
        return cls(
            int(texts.get("content_id", "")),
            int(priority) if priority and priority != texts.get("priority_was") else None,
            datetime.fromisoformat(when).replace(tzinfo=zone) if changed and when else None,
            changed and not when,
        )

    @property
    def something(self) -> bool:
        return self.priority is not None or self.time is not None or self.at_once
