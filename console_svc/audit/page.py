"""The audit: who made which call about what, and how it ended. Its filters stand in the address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from console_svc.audit.sentences import told
from console_svc.site import Link, Page, get
from console_svc.web.filters import Filter
from console_svc.web.forms import Form, typed_of
from console_svc.web.language import text
from console_svc.web.paging import MAX_FETCH, PAGE_SIZE
from console_svc.web.sessions import Session
from console_svc.web.values import zone_of
from contentgen import AuditEvent, InvalidArgument

MAX_EXAMINED = 5_000
"""Events that a page reads to find those of an outcome."""
OUTCOMES = (text("ok"), text("refused"))
_CONDITIONS = ("actor", "account", "method", "outcome", "from", "to", "before")


FILTERS = {
    "actor": Filter(text("Who")),
    "account": Filter(text("Account")),
    "method": Filter(text("Call")),
    "outcome": Filter(text("Outcome"), OUTCOMES),
    "from": Filter(text("From")),
    "to": Filter(text("To")),
}


class Audit(Page):
    link = Link("/audit", "Audit", 110, "AuditService/ListAuditEvents")

    @get("/audit", filters=FILTERS)
    async def show(self, request: Request, session: Session) -> Response:
        """Lists events, the newest first. `before` selects earlier ones, which is how the next page begins."""
        search = _Search(request, session)
        shown_events: list[AuditEvent] = []
        before = ""
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
                shown_events, before = await _page(events, search.outcome)
            except InvalidArgument as error:
                search.refused(error)
        values = {
            "search": search,
            "calls": [told(event) for event in shown_events],
            "older": search.query(before=before) if before else "",
            "zone": search.zone.key,
            "methods": sorted(session.caller["methods"]),
        }
        return self._site.render(request, "audit/page.html", values, session, bad=search.problems)


async def _page(events: AsyncIterator[AuditEvent], outcome: str) -> tuple[list[AuditEvent], str]:
    """Returns a page that ends where the time changes, so the next misses none, and where that begins; empty: none."""
    page_events: list[AuditEvent] = []
    last = ""
    examined = 0
    async for event in events:
        if event["event_time"] != last and (len(page_events) >= PAGE_SIZE or examined >= MAX_EXAMINED):
            return page_events, last
        last = event["event_time"]
        examined += 1
        if not outcome or (event["outcome"] == "OK") == (outcome == "ok"):
            page_events.append(event)
    return page_events, ""


class _Search(Form):
    def __init__(self, request: Request, session: Session) -> None:
        typed = typed_of(request.query_params, _CONDITIONS)
        super().__init__(typed, zone=zone_of(request), account=session.accounts.number)
        problem = text("A time such as 2030-01-31T08:00.")
        self.account_id = self.account()
        self.first, *ends = (self.time(name, problem) for name in ("from", "to", "before"))
        self.end = min((end for end in ends if end), default=None)
        self.outcome = outcome if (outcome := self.plain("outcome")) in OUTCOMES else ""

    def query(self, **more: str) -> str:
        return urlencode({**self.typed, **more})
