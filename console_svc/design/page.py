"""What pages are made of, on a page of its own: type, spaces, colours, states, buttons, forms, notices and lists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from console_svc.contents.content import PUBLISH_STATES, REVIEW_STATES
from console_svc.site import NOT_FOUND, NotDone, Page, get
from console_svc.tasks.list import STATES
from console_svc.web.forms import Form
from console_svc.web.language import text
from console_svc.web.sessions import Session


class Design(Page):
    @get("/design")
    async def show(self, request: Request, session: Session) -> Response:
        if not self._site.settings.console_design:
            raise NotDone(text("There is no such page."), NOT_FOUND)
        form = Form({"name": "", "account": "x"})
        form.problems["account"] = text("It should be a number, from 1.")
        now = datetime.now(UTC)
        values = {
            "states": [*STATES, *(state for state in (*REVIEW_STATES, *PUBLISH_STATES) if state not in STATES)],
            "form": form,
            "times": [(now + timedelta(seconds=seconds)).isoformat() for seconds in (-30, -300, -90_000, 7_200)],
        }
        return self._site.render(request, "design/page.html", values, session)
