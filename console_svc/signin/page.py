"""Signing in by the user's own token, and out; the choice of the language."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from console_svc.site import AWAY, FORBIDDEN, SEE_OTHER, Site
from console_svc.web.forms import text_of, with_form
from console_svc.web.language import COOKIE, NAMES
from console_svc.web.security import address_of, is_local, page_before, same_origin
from console_svc.web.sessions import SIGNED_OUT, SIGNED_OUT_EVERYWHERE, Session
from contentgen import RequestError

TOO_MANY = 429
MAX_SIGN_IN = 16 << 10
"""Bytes of the form, which anybody may send."""
_YEAR = 365 * 86_400
_TOKEN = re.compile(r"[!-~]{1,4096}")


class SignIn:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return (
            self._site.open("/login", "GET", self.show),
            self._site.open("/login", "POST", self.submit),
            self._site.form("/logout", self.sign_out, calls=False),
            self._site.open("/language/{language}", "GET", self.set_language),
        )

    async def show(self, request: Request) -> Response:
        return (
            self._next(request)
            if self._site.session(request)
            else self._form(request, why=self._site.why_ended(request))
        )

    async def submit(self, request: Request) -> Response:
        site, count = self._site, self._site.metrics.signed_in
        if not same_origin(request):
            count("foreign_form")
            return self._form(request, "This form is not from this page. Reload the page.", FORBIDDEN)
        address = address_of(request, behind_proxy=site.settings.console_behind_proxy)
        if not site.tries.admit(address):
            count("too_many")
            return self._form(request, "Too many tries. Wait a minute.", TOO_MANY)
        token = text_of(await (await with_form(request, MAX_SIGN_IN)).form(), "token")
        try:
            session = await site.begin(token) if _TOKEN.fullmatch(token) else None
        except RequestError:
            count("schedulers_away")
            return self._form(request, "No scheduler answers. Try again in a moment.", AWAY)
        if session is None:
            count("unknown_token")
            return self._form(request, "The schedulers do not know this token.", FORBIDDEN)
        count("accepted")
        site.tries.forgive(address)
        response = self._next(request)
        site.keep(response, session)
        return response

    def _next(self, request: Request) -> Response:
        """Leads to the page that was asked for before the form."""
        address = request.query_params.get("next", "")
        return RedirectResponse(address if is_local(address) else self._site.path("/"), SEE_OTHER)

    def _form(self, request: Request, problem: str = "", status: int = 200, *, why: str = "") -> Response:
        values = {"problem": problem, "why": why, "proxied": bool(self._site.settings.console_token_header)}
        return self._site.render(request, "signin/page.html", values, status=status)

    async def sign_out(self, request: Request, session: Session) -> Response:
        everywhere = (await request.form()).get("everywhere") == "yes"
        why = SIGNED_OUT_EVERYWHERE if everywhere else SIGNED_OUT
        self._site.sessions.end(session, why, everywhere=everywhere)
        return self._site.see("/login")

    async def set_language(self, request: Request) -> Response:
        """Sets the language, and leads back to the page."""
        response = RedirectResponse(page_before(request) or self._site.path("/"), SEE_OTHER)
        if (language := request.path_params["language"]) in NAMES:
            secure = self._site.settings.secure
            response.set_cookie(COOKIE, language, max_age=_YEAR, path="/", samesite="lax", secure=secure)
        return response
