"""The audit: who made which call about what, and how it ended. Its filters stand in the address."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.site import BAD, Link, Site
from console_svc.web.forms import Form, typed_of
from console_svc.web.language import text
from console_svc.web.paging import MAX_FETCH, PAGE_SIZE
from console_svc.web.sessions import Session
from console_svc.web.values import zone_of
from contentgen import AuditEvent, InvalidArgument

MAX_EXAMINED = 5_000
"""Events that a page reads to find those of an outcome."""
OUTCOMES = ("ok", "refused")
_CONDITIONS = ("actor", "account", "method", "outcome", "from", "to", "before")
_LINKED = re.compile(r"(task|content|account|schedule|webhook):([\w-]+)")
_PATHS = {
    "task": "/tasks",
    "content": "/contents",
    "account": "/accounts",
    "schedule": "/schedules",
    "webhook": "/webhooks",
}


class Audit:
    link = Link("/audit", "Audit", "AuditService/ListAuditEvents")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return (self._site.page("/audit", self.show),)

    async def show(self, request: Request, session: Session) -> Response:
        """Lists events, the newest first. `before` selects earlier ones, which is how the next page begins."""
        search = _Search(request)
        page = _Page([], None)
        if not search.problems:
            events = session.client.iter_audit_events(
                search.account_id,
                actor=search.plain("actor"),
                method=search.plain("method"),
                start_time=search.first,
                end_time=search.end,
                page_size=MAX_FETCH if search.outcome else PAGE_SIZE + 1,
            )
            try:
                page = await _page(events, search.outcome)
            except InvalidArgument as error:
                search.refused(error)
        values = {
            "search": search,
            "events": [(event, path_of(event["resource"])) for event in page.events],
            "older": search.query(before=page.before) if page.before else "",
            "outcomes": OUTCOMES,
            "zone": search.zone.key,
            "methods": sorted(session.caller["methods"]),
        }
        return self._site.render(request, "audit/page.html", values, session, status=BAD if search.problems else 200)


def path_of(resource: str) -> str:
    """The page of what a call was about; empty if it has none."""
    match = _LINKED.match(resource)
    return f"{_PATHS[match[1]]}/{match[2]}" if match else ""


@dataclass(frozen=True, slots=True)
class _Page:
    """`before`: where the next page begins. None: there is none."""

    events: Sequence[AuditEvent]
    before: str | None


async def _page(events: AsyncIterator[AuditEvent], outcome: str) -> _Page:
    """A page ends where the time changes, so that the next one misses none of the same time."""
    page_events: list[AuditEvent] = []
    last = ""
    examined = 0
    async for event in events:
        if event["event_time"] != last and (len(page_events) >= PAGE_SIZE or examined >= MAX_EXAMINED):
            return _Page(page_events, last)
        last = event["event_time"]
        examined += 1
        if not outcome or (event["outcome"] == "OK") == (outcome == "ok"):
            page_events.append(event)
    return _Page(page_events, None)


class _Search(Form):
    """The conditions in the address of the page."""

    def __init__(self, request: Request) -> None:
        super().__init__(typed_of(request.query_params, _CONDITIONS), zone=zone_of(request))
        problem = text("A time such as 2030-01-31T08:00.")
        self.account_id = self.account()
        self.first, *ends = (self.time(name, problem) for name in ("from", "to", "before"))
        self.end = min((end for end in ends if end), default=None)
        self.outcome = outcome if (outcome := self.plain("outcome")) in OUTCOMES else ""

    def query(self, **more: str) -> str:
        """Returns the query of the address, with the conditions of `more`."""
        return urlencode({**self.typed, **more})
