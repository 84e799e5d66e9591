"""How far long work is, and what of it was not done."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.site import NOT_FOUND, Site
from console_svc.web.language import text
from console_svc.web.sessions import Session

NO_WORK = text("This work is not known any more. Look at the list for what it has done.")


class WorkPage:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return self._site.page("/work/{key}", self.show), self._site.form("/work/{key}/stop", self.stop, calls=False)

    async def show(self, request: Request, session: Session) -> Response:
        work = self._site.works.find(session, request.path_params["key"])
        if work is None:
            return self._site.failure(request, session, NO_WORK, NOT_FOUND)
        return self._site.render(request, "work.html", {"work": work}, session)

    async def stop(self, request: Request, session: Session) -> Response:
        work = self._site.works.find(session, request.path_params["key"])
        if work is None:
            return self._site.failure(request, session, NO_WORK, NOT_FOUND)
        work.stop()
        return self._site.see(f"/work/{work.key}")
