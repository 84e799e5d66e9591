"""The publish pool: as a list in the order of claims, and as a calendar; another day or priority, retry, remove."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.pool.calendar import by_day, row_of, span_of, week_of
from console_svc.site import BAD, NOT_FOUND, Link, Site
from console_svc.web.forms import Form, texts_of, typed_of
from console_svc.web.language import refused, text
from console_svc.web.paging import MAX_FETCH, fetched, first_of, page_number, page_of
from console_svc.web.sessions import Session
from console_svc.web.values import MAX_COUNT, MAX_NUMBER, day, end_of, moment, start_of, whole, zone_named, zone_of
from contentgen import FailedPrecondition, InvalidArgument, PublishPoolEntry, PublishStatus, ResourceNotFoundException

MOVABLE = ("pending", "failed")
DAY_SHOWS = 8
"""Entries of a day that a month shows."""
MAX_ATTEMPTS = 200
BAD_FORM = text("This form is incomplete. Reload the page.")


class PublishPool:
    link = Link("/pool", "Publish pool", "ContentService/ListPublishPool")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        site = self._site
        return (
            site.page("/pool", self.show),
            site.page("/pool/calendar", self.calendar),
            site.form("/pool/change", self.change),
            site.page("/pool/{content_id:int}", self.attempts),
            site.form("/pool/{content_id:int}/retry", self.retry),
            site.form("/pool/{content_id:int}/remove", self.remove),
        )

    async def show(self, request: Request, session: Session) -> Response:
        search = PoolSearch(request)
        number = page_number(request)
        entries: list[PublishPoolEntry] = []
        more = False
        if not search.problems:
            pool = session.client.iter_publish_pool(
                search.account_id,
                search.states,
                scheduled_after=start_of(search.first, search.zone) if search.first else None,
                scheduled_before=end_of(search.last, search.zone) if search.last else None,
                page_size=fetched(number),
            )
            entries, more = await page_of(pool, number)
        values = {
            "rows": [row_of(entry, search.zone) for entry in entries],
            "page": number,
            "before": search.query(page=number - 1) if number > 1 else "",
            "after": search.query(page=number + 1) if more else "",
        }
        return self._render(request, "pool/list.html", search, values, session)

    async def calendar(self, request: Request, session: Session) -> Response:
        """Shows a month or a week in the reader's zone."""
        search = PoolSearch(request)
        today = datetime.now(search.zone).date()
        span = span_of(search.typed, today)
        entries: list[PublishPoolEntry] = []
        more = False
        if not search.problems:
            pool = session.client.iter_publish_pool(
                search.account_id,
                search.states,
                scheduled_after=start_of(span.first, search.zone),
                scheduled_before=end_of(span.last, search.zone),
                page_size=MAX_FETCH,
            )
            entries, more = await first_of(pool, MAX_FETCH)
        values = {
            "span": span,
            "days": by_day(entries, search.zone),
            "today": today,
            "day_shows": DAY_SHOWS if span.kind == "month" else MAX_FETCH,
            "left_out": MAX_FETCH if more else 0,
        }
        return self._render(request, "pool/calendar.html", search, values, session)

    def _render(
        self, request: Request, template: str, search: PoolSearch, values: Mapping[str, object], session: Session
    ) -> Response:
        common_values = {
            "search": search,
            "states": PUBLISH_STATES,
            "zone": search.zone.key,
            "movable_states": MOVABLE,
            "undo": session.undo(),
            "back": f"{request.url.path.removeprefix(self._site.path(''))}?{request.url.query}",
            "this_week": week_of(datetime.now(search.zone).date()),
            "may_change": session.may("ContentService/UpdatePublishPoolEntry"),
            "may_retry": session.may("ContentService/RetryPublish"),
            "may_remove": session.may("ContentService/RemoveFromPublishPool"),
        }
        return self._site.render(
            request, template, {**common_values, **values}, session, status=BAD if search.problems else 200
        )

    async def attempts(self, request: Request, session: Session) -> Response:
        """Shows each attempt that was reported."""
        content_id = request.path_params["content_id"]
        content, (attempts, more) = await asyncio.gather(
            session.client.get_content(content_id),
            first_of(session.client.iter_publish_attempts(content_id, page_size=MAX_ATTEMPTS + 1), MAX_ATTEMPTS),
        )
        if content is None:
            return self._site.failure(request, session, "There is no such content.", NOT_FOUND)
        values = {"content": content, "attempts": attempts, "left_out": MAX_ATTEMPTS if more else 0}
        return self._site.render(request, "pool/attempts.html", values, session)

    async def change(self, request: Request, session: Session) -> Response:
        """Changes the time or the priority: of what the form has, only what differs from what its page showed."""
        form = await request.form()
        try:
            change = EntryChange.of(form)
        except ValueError:
            return self._site.failure(request, session, BAD_FORM, BAD)
        if change.frees and form.get("sure") != "yes":
            values = {"fields": form.multi_items(), "when": form["when"], "back": _back(form)}
            return self._site.render(request, "pool/sure.html", {**values, "zone": form["zone"]}, session)
        try:
            if not change.empty:
                await session.client.update_publish_pool_entry(
                    change.content_id,
                    priority=change.priority,
                    schedule_time=change.time,
                    unschedule=change.at_once,
                )
                if form.get("undo") == "yes":
                    session.offer_undo({})
                    session.tell("Entry {content_id} is as it was.", content_id=change.content_id)
                else:
                    session.offer_undo(change.undo)
        except (FailedPrecondition, InvalidArgument, ResourceNotFoundException) as error:
            session.tell(refused(error))
        return self._site.see(_back(form))

    async def retry(self, request: Request, session: Session) -> Response:
        content_id = request.path_params["content_id"]
        try:
            await session.client.retry_publish(content_id)
            session.tell("Entry {content_id} will be published again.", content_id=content_id)
        except (FailedPrecondition, ResourceNotFoundException) as error:
            session.tell(refused(error))
        return self._site.see(_back(await request.form()))

    async def remove(self, request: Request, session: Session) -> Response:
        content_id = request.path_params["content_id"]
        try:
            if await session.client.remove_from_publish_pool(content_id):
                session.tell(
                    "Removed entry {content_id} from the pool. Its content stays approved.", content_id=content_id
                )
            else:
                session.tell("Entry {content_id} is not in the pool.", content_id=content_id)
        except FailedPrecondition as error:
            session.tell(refused(error))
        return self._site.see(_back(await request.form()))


def _back(form: FormData) -> str:
    """Returns the page of the pool that a form stood on."""
    back = str(form.get("back", ""))
    return back if back.partition("?")[0] in {"/pool", "/pool/calendar"} else "/pool"


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
