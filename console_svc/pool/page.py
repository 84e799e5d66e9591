"""The publish pool: as a list in the order of claims, and as a calendar; another day or priority, retry, remove."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.pool.calendar import by_day, row_of, span_of, week_of
from console_svc.pool.forms import PUBLISH_STATES, EntryChange, PoolSearch
from console_svc.site import BAD, NOT_FOUND, Link, Site
from console_svc.web.language import refused, text
from console_svc.web.paging import MAX_FETCH, fetched, first_of, page_number, page_of
from console_svc.web.sessions import Session
from console_svc.web.zones import end_of, start_of
from contentgen import FailedPrecondition, InvalidArgument, PublishPoolEntry, ResourceNotFoundException

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
