"""The search of the publish pool's pages, and what a form changes of an entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request

from console_svc.web.forms import Form, texts_of, typed_of
from console_svc.web.language import text
from console_svc.web.numbers import MAX_COUNT, MAX_NUMBER, whole
from console_svc.web.times import day, moment
from console_svc.web.zones import zone_named, zone_of
from contentgen import PublishStatus

PUBLISH_STATES: Sequence[PublishStatus] = get_args(PublishStatus)
OPEN: Sequence[PublishStatus] = ("pending", "publishing", "failed")
"""What is shown where no state is asked for."""
_CONDITIONS = ("account", "from", "to", "month", "week")
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


class PoolSearch(Form):
    """The conditions in the address of a page."""

    def __init__(self, request: Request) -> None:
        params = request.query_params
        super().__init__(typed_of(params, _CONDITIONS), zone=zone_of(request))
        self._chosen = [state for state in PUBLISH_STATES if state in params.getlist("state")]
        self.states = self._chosen or OPEN
        self.account_id = self.account()
        problem = text("A day such as 2030-01-31.")
        self.first, self.last = self.read("from", day, problem), self.read("to", day, problem)

    def query(self, *, without: Sequence[str] = ("page",), **more: object) -> str:
        """Returns the query of the address, with the conditions of `more`."""
        conditions = [(name, value) for name, value in self.typed.items() if name not in without and name not in more]
        states = [("state", state) for state in self._chosen]
        return urlencode([*conditions, *states, *((name, value) for name, value in more.items() if value)])


@dataclass(frozen=True, slots=True)
class EntryChange:
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
    def of(cls, data: FormData) -> EntryChange:
        """Raises ValueError for a form that no page of ours has."""
        form = Form(texts_of(data))
        if zone_named(form.plain("zone")) is None:
            raise ValueError("zone")
        when, old_when, priority = form.plain("when"), form.plain("when_was"), form.plain("priority")
        has_changed = "when" in form.typed and when != old_when[:_MINUTES]
        time = moment(when, form.zone) if has_changed and when else None
        old_time = moment(old_when, form.zone) if old_when else None
        now = datetime.now(UTC)
        return cls(
            whole(form.plain("content_id"), 1, MAX_NUMBER),
            whole(priority, 0, MAX_COUNT) if priority and priority != form.plain("priority_was") else None,
            time,
            has_changed and not when,
            bool(time and old_time and time <= now < old_time),
            {name: form.plain(source) for name, source in _UNDO.items()},
        )

    @property
    def empty(self) -> bool:
        return self.priority is None and self.time is None and not self.at_once
