"""The audit: who made which call about what, and how it ended. Its filters stand in the address."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.site import BAD, Link, Site
from console_svc.web.language import text
from console_svc.web.numbers import number_of
from console_svc.web.paging import MAX_FETCH, PAGE_SIZE
from console_svc.web.sessions import Session
from console_svc.web.times import moment
from console_svc.web.zones import zone_of
from contentgen import AuditEvent, InvalidArgument

MAX_EXAMINED = 5_000
"""Events that a page reads to find those of an outcome."""
OUTCOMES = ("ok", "refused")
_TEXTS = ("actor", "account", "method", "outcome", "from", "to", "before")
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
        """Newest first. `before`: only earlier ones, which is how the next page begins."""
        asked = _Asked.of(request)
        page = _Page([], None)
        if not asked.problems:
            events = session.client.iter_audit_events(
                asked.account,
                actor=asked.texts.get("actor", ""),
                method=asked.texts.get("method", ""),
                start_time=asked.first,
                end_time=asked.end,
                page_size=MAX_FETCH if asked.outcome else PAGE_SIZE + 1,
            )
            try:
                page = await _page(events, asked.outcome)
            except InvalidArgument as error:
                asked.problems.update((name, said) for name, said in error.field_violations)
        values = {
            "asked": asked,
            "events": [(event, path_of(event["resource"])) for event in page.events],
            "older": asked.query(before=page.before) if page.before else "",
            "outcomes": OUTCOMES,
            "zone": asked.zone.key,
            "methods": sorted(session.caller["methods"]),
        }
        return self._site.render(request, "audit/page.html", values, session, status=BAD if asked.problems else 200)


def path_of(resource: str) -> str:
    """The page of what a call was about; empty if it has none."""
    found = _LINKED.match(resource)
    return f"{_PATHS[found[1]]}/{found[2]}" if found else ""


@dataclass(frozen=True, slots=True)
class _Page:
    """`before`: where the next page begins. None: there is none."""

    events: Sequence[AuditEvent]
    before: str | None


async def _page(events: AsyncIterator[AuditEvent], outcome: str) -> _Page:
    """A page ends where the time changes, so that the next one misses none of the same time."""
    found: list[AuditEvent] = []
    last = ""
    examined = 0
    async for event in events:
        if event["event_time"] != last and (len(found) >= PAGE_SIZE or examined >= MAX_EXAMINED):
            return _Page(found, last)
        last = event["event_time"]
        examined += 1
        if not outcome or (event["outcome"] == "OK") == (outcome == "ok"):
            found.append(event)
    return _Page(found, None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the address asks for. `problems`: what is wrong, by the field's name."""

    zone: ZoneInfo
    texts: Mapping[str, str]
    outcome: str = ""
    account: int | None = None
    first: datetime | None = None
    end: datetime | None = None
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request) -> _Asked:
        texts = {name: given for name in _TEXTS if (given := request.query_params.get(name, "").strip())}
        zone = zone_of(request)
        times: dict[str, datetime] = {}
        problems: dict[str, str] = {}
        for name in ("from", "to", "before"):
            try:
                if name in texts:
                    times[name] = moment(texts[name], zone)
            except ValueError:
                problems[name] = text("A time such as 2030-01-31T08:00.")
        account = None
        try:
            account = number_of(texts.get("account", ""))
        except ValueError:
            problems["account"] = "The number of an account."
        end = min((times[name] for name in ("to", "before") if name in times), default=None)
        outcome = texts.get("outcome", "") if texts.get("outcome") in OUTCOMES else ""
        return cls(zone, texts, outcome, account, times.get("from"), end, problems)

    def query(self, **more: str) -> str:
        """The address's query, with `more`."""
        return urlencode({**self.texts, **more})
