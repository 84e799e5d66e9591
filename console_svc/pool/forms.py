"""The search of the publish pool's pages, and the form that changes an entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import get_args
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.datastructures import FormData
from starlette.requests import Request

from console_svc.web.language import text
from console_svc.web.numbers import MAX_COUNT, MAX_NUMBER, number_of, whole
from console_svc.web.times import day, moment
from console_svc.web.zones import zone_named, zone_of
from contentgen import PublishStatus

PUBLISH_STATES: Sequence[PublishStatus] = get_args(PublishStatus)
OPEN: Sequence[PublishStatus] = ("pending", "publishing", "failed")
"""What is shown where no state is asked for."""
_TEXTS = ("account", "from", "to", "month", "week")
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
class Asked:
    """What the address of a page asks for. `problems`: what is wrong, by the field's name."""

    zone: ZoneInfo
    texts: Mapping[str, str]
    chosen: Sequence[PublishStatus]
    account: int | None = None
    first: date | None = None
    last: date | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request) -> Asked:
        params = request.query_params
        texts = {name: given for name in _TEXTS if (given := params.get(name, "").strip())}
        chosen = [state for state in PUBLISH_STATES if state in params.getlist("state")]
        problems: dict[str, str] = {}
        days: dict[str, date | None] = {"from": None, "to": None}
        for name in days:
            try:
                days[name] = day(texts[name]) if name in texts else None
            except ValueError:
                problems[name] = text("A day such as 2030-01-31.")
        account = None
        try:
            account = number_of(texts.get("account", ""))
        except ValueError:
            problems["account"] = "The number of an account."
        return cls(zone_of(request), texts, chosen, account, days["from"], days["to"], problems)

    @property
    def states(self) -> Sequence[PublishStatus]:
        return self.chosen or OPEN

    def query(self, *, without: Sequence[str] = ("page",), **more: object) -> str:
        """The address's query, with `more`."""
        kept = [(name, given) for name, given in self.texts.items() if name not in without and name not in more]
        states = [("state", state) for state in self.chosen]
        return urlencode([*kept, *states, *((name, given) for name, given in more.items() if given)])


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
