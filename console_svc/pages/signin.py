"""Signing in by the user's own token, and out; the choice of the language."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console_svc.language import COOKIE, NAMES
from console_svc.security import same_origin
from console_svc.sessions import Session
from console_svc.site import FORBIDDEN, SEE_OTHER, Site
from contentgen.client.errors import RequestError

MAX_TOKEN = 4_096
TOO_MANY = 429
_YEAR = 365 * 86_400
_LOCAL = re.compile(r"/(?!/)")
"""A path, and no address of another host."""


class SignIn:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def form(self, request: Request) -> Response:
        if self._site.session(request):
            return RedirectResponse(self._site.path("/"), SEE_OTHER)
        return self._form(request)

    async def submit(self, request: Request) -> Response:
        site = self._site
        if not same_origin(request):
            return self._form(request, "This form is not from this page. Load the page anew.", FORBIDDEN)
        if not site.tries.admit(request.client.host if request.client else ""):
            return self._form(request, "Too many tries. Wait a minute.", TOO_MANY)
        token = (await request.form()).get("token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            return self._form(request, "The schedulers do not know this token.", FORBIDDEN)
        client = site.schedulers.client(token.strip() or None)
        try:
            known = len(token) <= MAX_TOKEN and await site.schedulers.accepts(client)
        except RequestError:
            return self._form(request, "No scheduler answers. Try again in a moment.", 503)
        if not known:
            return self._form(request, "The schedulers do not know this token.", FORBIDDEN)
        response = RedirectResponse(site.path("/"), SEE_OTHER)
        site.keep(response, site.sessions.begin(token.strip() or None, client))
        return response

    def _form(self, request: Request, problem: str = "", status: int = 200) -> Response:
        return self._site.render(request, "login.html", {"problem": problem}, status=status)

    async def out(self, request: Request, session: Session) -> Response:
        self._site.sessions.end(session, everywhere=(await request.form()).get("everywhere") == "yes")
        return RedirectResponse(self._site.path("/login"), SEE_OTHER)

    async def language(self, request: Request) -> Response:
        """Sets the language, and goes back to the page."""
        back = urlsplit(request.headers.get("referer", ""))
        path = back.path if back.netloc == request.headers.get("host") and _LOCAL.match(back.path) else self._site.path("/")
        response = RedirectResponse(path + (f"?{back.query}" if back.query else ""), SEE_OTHER)
        if (chosen := request.path_params["language"]) in NAMES:
            response.set_cookie(COOKIE, chosen, max_age=_YEAR, path="/", samesite="lax", secure=self._site.settings.secure)
        return response
