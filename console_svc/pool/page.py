"""The publish pool: as a list in the order of claims, and as a calendar; another day or priority, retry, remove."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple, get_args
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from console_svc.pool.calendar import Row, by_day, row_of, span_of, week_of
from console_svc.site import EDITING, Link, NotDone, Page, get, post, present
from console_svc.web.filters import Filter
from console_svc.web.forms import Form, texts_of, typed_of
from console_svc.web.language import refused, text
from console_svc.web.paging import MAX_FETCH, fetched, first_of, page_number, page_of
from console_svc.web.sessions import Session
from console_svc.web.values import MAX_COUNT, MAX_NUMBER, day, end_of, moment, start_of, whole, zone_named, zone_of
from contentgen import FailedPrecondition, InvalidArgument, PublishPoolEntry, PublishStatus, ResourceNotFoundException

MOVABLE = ("pending", "failed")
DAY_SHOWS = 8
"""Entries of a day that a month shows."""
TRAY_SHOWS = 20
"""Entries without a time that the calendar shows; the list has the others."""
MAX_ATTEMPTS = 200


PUBLISH_STATES: Sequence[PublishStatus] = get_args(PublishStatus)
FILTERS = {
    "account": Filter(text("Account")),
    "state": Filter(text("State"), PUBLISH_STATES),
    "from": Filter(text("From day")),
    "to": Filter(text("To day")),
}


class PublishPool(Page):
    link = Link("/pool", "Publish pool", 60, "ContentService/ListPublishPool", EDITING)

    @get("/pool", filters=FILTERS)
    async def show(self, request: Request, session: Session) -> Response:
        search, number = PoolSearch(request, session), page_number(request)
        entries: list[PublishPoolEntry] = []
        more = False
        if not search.problems:
            entries, more = await page_of(search.entries(session, search.first, search.last, fetched(number)), number)
        values = {
            "rows": [row_of(entry, search.zone) for entry in entries],
            "page": number,
            "before": search.query(page=number - 1) if number > 1 else "",
            "after": search.query(page=number + 1) if more else "",
        }
        return self._render(request, "pool/list.html", search, values, session)

    @get("/pool/calendar", filters={**FILTERS, "month": Filter(text("Month")), "week": Filter(text("Week"))})
    async def calendar(self, request: Request, session: Session) -> Response:
        search = PoolSearch(request, session)
        today = datetime.now(search.zone).date()
        span = span_of(search.typed, today)
        entries: list[PublishPoolEntry] = []
        more = False
        if not search.problems:
            entries, more = await first_of(search.entries(session, span.first, span.last, MAX_FETCH), MAX_FETCH)
        values = {
            "span": span,
            "days": by_day(entries, search.zone),
            "today": today,
            "day_shows": DAY_SHOWS if span.kind == "month" else MAX_FETCH,
            "left_out": MAX_FETCH if more else 0,
            "tray": await self._tray(session, search),
        }
        return self._render(request, "pool/calendar.html", search, values, session)

    async def _tray(self, session: Session, search: PoolSearch) -> Sequence[Row]:
        """Returns the first entries without a time, of those that are next in the order of claims."""
        if search.problems:
            return ()
        entries, _ = await first_of(search.entries(session, None, None, MAX_FETCH), MAX_FETCH)
        return [row_of(entry, search.zone) for entry in entries if not entry["scheduled_at"]][:TRAY_SHOWS]

    def _render(
        self, request: Request, template: str, search: PoolSearch, values: Mapping[str, object], session: Session
    ) -> Response:
        common_values = {
            "search": search,
            "states": PUBLISH_STATES,
            "zone": search.zone.key,
            "movable_states": MOVABLE,
            "back": f"{request.url.path.removeprefix(self._site.path(''))}?{request.url.query}",
            "this_week": week_of(datetime.now(search.zone).date()),
            **values,
        }
        return self._site.render(request, template, common_values, session, bad=search.problems)

    @get("/pool/{content_id:int}")
    async def attempts(self, request: Request, session: Session, content_id: int) -> Response:
        stored_content, (attempts, more) = await asyncio.gather(
            session.client.get_content(content_id),
            first_of(session.client.iter_publish_attempts(content_id, page_size=MAX_ATTEMPTS + 1), MAX_ATTEMPTS),
        )
        content = present(stored_content, "There is no such content.")
        values = {"content": content, "attempts": attempts, "left_out": MAX_ATTEMPTS if more else 0}
        return self._site.render(request, "pool/attempts.html", values, session)

    @post("/pool/change")
    async def change(self, request: Request, session: Session) -> Response:
        """Changes the time or the priority: of what the form has, only what differs from what its page showed."""
        form = await request.form()
        try:
            change = EntryChange.of(form)
        except ValueError:
            raise NotDone(text("This form is incomplete. Reload the page.")) from None
        if change.frees and form.get("sure") != "yes":
            values = {"fields": form.multi_items(), "when": form["when"], "zone": form["zone"], "back": _back(form)}
            return self._site.render(request, "pool/sure.html", values, session)
        try:
            if not change.empty:
                await session.client.update_publish_pool_entry(
                    change.content_id, priority=change.priority, schedule_time=change.time, unschedule=change.at_once
                )
                undoes = form.get("undo") == "yes"
                session.offer_undo({} if undoes else change.undo)
                if undoes:
                    session.tell("Entry {content_id} is as it was.", content_id=change.content_id)
        except (FailedPrecondition, InvalidArgument, ResourceNotFoundException) as error:
            session.tell(refused(error))
        return self._site.see(_back(form))

    @post("/pool/{content_id:int}/retry")
    async def retry(self, request: Request, session: Session, content_id: int) -> Response:
        try:
            await session.client.retry_publish(content_id)
            session.tell("Entry {content_id} will be published again.", content_id=content_id)
        except (FailedPrecondition, ResourceNotFoundException) as error:
            session.tell(refused(error))
        return self._site.see(_back(await request.form()))

    @post("/pool/{content_id:int}/remove")
    async def remove(self, request: Request, session: Session, content_id: int) -> Response:
        try:
            removed = await session.client.remove_from_publish_pool(content_id)
            notice = text("Removed entry {content_id} from the pool. Its content stays approved.")
            session.tell(notice if removed else text("Entry {content_id} is not in the pool."), content_id=content_id)
        except FailedPrecondition as error:
            session.tell(refused(error))
        return self._site.see(_back(await request.form()))


def _back(form: FormData) -> str:
    """Returns the page of the pool that a form stood on."""
    back = str(form.get("back", ""))
    return back if back.partition("?")[0] in {"/pool", "/pool/calendar"} else "/pool"


OPEN: Sequence[PublishStatus] = ("pending", "publishing", "failed")
"""What is shown where no state is asked for."""
_CONDITIONS = ("account", "from", "to", "month", "week")
_MINUTES = len("2031-01-31T12:00")
"""What an input of a time has; what it was before may be more exact."""


class PoolSearch(Form):
    def __init__(self, request: Request, session: Session) -> None:
        params = request.query_params
        super().__init__(typed_of(params, _CONDITIONS), zone=zone_of(request), account=session.accounts.number)
        self._chosen = [state for state in PUBLISH_STATES if state in params.getlist("state")]
        self.states = self._chosen or OPEN
        self.account_id = self.account()
        problem = text("A day such as 2030-01-31.")
        self.first, self.last = self.read("from", day, problem), self.read("to", day, problem)

    def entries(
        self, session: Session, first: date | None, last: date | None, page_size: int
    ) -> AsyncIterator[PublishPoolEntry]:
        """Reads the entries of these days, which may be open at either end."""
        return session.client.iter_publish_pool(
            self.account_id,
            self.states,
            scheduled_after=start_of(first, self.zone) if first else None,
            scheduled_before=end_of(last, self.zone) if last else None,
            page_size=page_size,
        )

    def query(self, *, without: Sequence[str] = ("page",), **more: object) -> str:
        conditions = [(name, value) for name, value in self.typed.items() if name not in without and name not in more]
        states = [("state", state) for state in self._chosen]
        return urlencode([*conditions, *states, *((name, value) for name, value in more.items() if value)])


class EntryChange(NamedTuple):
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
        when, old_when = form.plain("when"), form.plain("when_was")
        priority, old_priority = form.plain("priority"), form.plain("priority_was")
        has_changed = "when" in form.typed and when != old_when[:_MINUTES]
        time = moment(when, form.zone) if has_changed and when else None
        old_time = moment(old_when, form.zone) if old_when else None
        now = datetime.now(UTC)
        return cls(
            whole(form.plain("content_id"), 1, MAX_NUMBER),
            whole(priority, 0, MAX_COUNT) if priority and priority != old_priority else None,
            time,
            has_changed and not when,
            bool(time and time <= now and (old_time is None or now < old_time)),
            {  # what was becomes what is wanted, and the other way round
                "content_id": form.plain("content_id"),
                "zone": form.plain("zone"),
                "when": old_when,
                "when_was": when,
                "priority": old_priority,
                "priority_was": priority,
            },
        )

    @property
    def empty(self) -> bool:
        return self.priority is None and self.time is None and not self.at_once
