"""Signing in through an OpenID Connect provider: the way there, and what it leads to."""

from __future__ import annotations

import json
import secrets

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console_svc.openid.provider import REFUSED, NotSignedIn, Provider, back_of
from console_svc.roles import name_of, person_of
from console_svc.site import AWAY, BAD, FORBIDDEN, NOT_FOUND, SEE_OTHER, TOO_MANY, Page, Site, get
from console_svc.web.language import filled, refused, text
from console_svc.web.security import address_of, is_local
from console_svc.web.sessions import Session
from contentgen import RequestError, Unavailable
from contentgen.client.target import Person

MAX_SIGN_IN_TIME = 600
"""Seconds that somebody may take at the provider."""
STALE = text("This sign-in began in another browser, or too long ago. Try again.")
NO_ROLE = text("You are signed in as {name}, but no role is mapped to you. Ask an operator.")
NOT_DELEGATED = text("The schedulers do not accept that this console acts for persons. An operator has to look.")


class OpenId(Page):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._provider = Provider(site.settings)
        self._cookie = "__Host-oidc" if site.settings.secure else "oidc"

    @get("/login/oidc", everybody=True)
    async def start(self, request: Request) -> Response:
        if not self._site.settings.oidc_issuer:
            raise HTTPException(NOT_FOUND, text("There is no such page."))
        secret, back = secrets.token_urlsafe(32), request.query_params.get("next", "")
        try:
            address = await self._provider.entrance(
                self._own(request, "/login/oidc/callback"), secret, back if is_local(back) else self._site.path("/")
            )
        except NotSignedIn as problem:
            return self._refused(request, problem)
        response = RedirectResponse(address, SEE_OTHER)
        self._bind(response, secret, MAX_SIGN_IN_TIME)
        return response

    @get("/login/oidc/callback", everybody=True)
    async def finish(self, request: Request) -> Response:
        """Begins a session. The page goes on by itself: after a redirect from elsewhere no cookie would be sent."""
        site = self._site
        address = address_of(request, behind_proxy=site.settings.console_behind_proxy)
        try:
            if not site.tries.admit(address):
                raise NotSignedIn("too_many", text("Too many tries. Wait a minute."), TOO_MANY)
            session, back = await self._session(request)
        except NotSignedIn as problem:
            return self._refused(request, problem)
        site.metrics.signed_in("accepted")
        site.tries.forgive(address)
        response = site.onward(request, text("You are signed in."), text("To the console"), back)
        site.keep(response, session)
        self._bind(response, "", 0)
        return response

    async def _session(self, request: Request) -> tuple[Session, str]:
        """Returns the session that the provider's answer begins, and the page to go on to. Raises NotSignedIn."""
        secret, query = request.cookies.get(self._cookie, ""), request.query_params
        back = back_of(secret, query.get("state", ""))
        if back is None or not self._site.settings.oidc_issuer:
            raise NotSignedIn("foreign_form", STALE, BAD)
        if not (code := query.get("code")):
            raise NotSignedIn("provider_refused", REFUSED, FORBIDDEN)
        redirect = self._own(request, "/login/oidc/callback")
        claims, id_token = await self._provider.claims(redirect, secret, code)
        person = person_of(self._site.settings.oidc_roles or (), claims)
        if person is None:
            raise NotSignedIn("no_role", filled(NO_ROLE, name=name_of(claims)), FORBIDDEN)
        session = await self._begun(person, str(claims["sub"]))
        session.exit = self._provider.exit(id_token, self._own(request, "/login"))
        return session, back

    async def _begun(self, person: Person, subject: str) -> Session:
        """Raises NotSignedIn if no scheduler answers, or one would not take the console's calls for the person's."""
        file = self._site.settings.oidc_token_file
        client = self._site.schedulers.client(file.read_text().strip() if file else None, person)
        try:
            caller = await client.get_caller()
        except Unavailable as error:
            raise NotSignedIn("schedulers_away", text("No scheduler answers. Try again in a moment."), AWAY) from error
        except RequestError as error:
            raise NotSignedIn("not_delegated", refused(error), FORBIDDEN) from error
        if (caller["name"], caller["role"]) != (person["name"], person["role"]):
            raise NotSignedIn("not_delegated", NOT_DELEGATED, FORBIDDEN)
        session = self._site.sessions.begin(f"oidc {json.dumps([subject, person])}", client, caller)
        self._site.sessions.end_former(session)
        return session

    def _own(self, request: Request, path: str) -> str:
        """Returns the address of a page of ours; `OwnNames` has checked its host."""
        scheme = "https" if self._site.settings.secure else "http"
        return f"{scheme}://{request.headers.get('host', '')}{self._site.path(path)}"

    def _bind(self, response: Response, secret: str, seconds: int) -> None:
        """Gives the browser the cookie of a sign-in. `lax`: it is sent after a redirect from elsewhere."""
        secure = self._site.settings.secure
        response.set_cookie(
            self._cookie, secret, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax"
        )

    def _refused(self, request: Request, problem: NotSignedIn) -> Response:
        self._site.metrics.signed_in(problem.outcome)
        return self._site.sign_in_form(request, problem.message, problem.status)
