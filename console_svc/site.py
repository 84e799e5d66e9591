"""What the pages share: who has signed in, what an error looks like, forms that change something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console_svc.config import ConsoleSettings
from console_svc.live import LiveTasks
from console_svc.rendering import Renderer
from console_svc.schedulers import UNAUTHENTICATED, Schedulers
from console_svc.security import CSRF_FIELD, SignInTries, same_origin, same_token
from console_svc.sessions import AGE_LIMIT, Session, Sessions
from contentgen.client.errors import RequestError, Unavailable

SEE_OTHER, FORBIDDEN, NOT_FOUND, AWAY, BAD = 303, 403, 404, 503, 400
Page = Callable[[Request, Session], Awaitable[Response]]


class Site:
    """The parts of one console."""

    def __init__(self, settings: ConsoleSettings, schedulers: Schedulers) -> None:
        self.settings = settings
        self.schedulers = schedulers
        self.sessions = Sessions()
        self.tries = SignInTries()
        self.live = LiveTasks()
        self.renderer = Renderer(settings.console_prefix)
        self._cookie = "__Host-session" if settings.secure else "session"

    def path(self, path: str) -> str:
        return f"{self.settings.console_prefix}{path}"

    def session(self, request: Request) -> Session | None:
        return self.sessions.find(request.cookies.get(self._cookie, ""))

    def render(
        self, request: Request, template: str, values: Mapping[str, Any], session: Session | None = None, *, status: int = 200
    ) -> HTMLResponse:
        return self.renderer.page(request, template, values, session=session, status=status)

    def signed_in(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """A page for whoever has signed in; others come to the form. A form of it needs the session's CSRF token."""

        async def served(request: Request) -> Response:
            session = self.session(request) or await self._anonymous()
            if session is None:
                return RedirectResponse(self.path("/login"), SEE_OTHER)
            if request.method == "POST" and not await _genuine(request, session):
                return self.failure(request, session, "This form is not from this page, or too old. Load the page anew.", FORBIDDEN)
            try:
                response = await page(request, session)
            except RequestError as error:
                response = self.refused(request, session, error)
            self.keep(response, session)
            return response

        return served

    async def _anonymous(self) -> Session | None:
        """A session without a token, if the schedulers ask for none."""
        client = self.schedulers.client(None)
        try:
            return self.sessions.begin(None, client) if await self.schedulers.accepts(client) else None
        except RequestError:  # the form says so
            return None

    def keep(self, response: Response, session: Session) -> None:
        """Gives the browser its cookie: for this site alone, out of reach for scripts."""
        response.set_cookie(
            self._cookie,
            session.key,
            max_age=int(AGE_LIMIT),
            path="/",
            secure=self.settings.secure,
            httponly=True,
            samesite="strict",
        )

    def forget(self, response: Response) -> None:
        response.delete_cookie(self._cookie, path="/", secure=self.settings.secure, httponly=True, samesite="strict")

    def refused(self, request: Request, session: Session, error: RequestError) -> Response:
        """The page for a call that the schedulers have refused."""
        if error.code == UNAUTHENTICATED:  # the token was revoked
            self.sessions.end(session)
            return RedirectResponse(self.path("/login"), SEE_OTHER)
        status = AWAY if isinstance(error, Unavailable) else NOT_FOUND if error.code == "NOT_FOUND" else BAD
        values = {"message": str(error), "away": status == AWAY}
        return self.render(request, "error.html", values, session, status=status)

    def failure(self, request: Request, session: Session | None, message: str, status: int) -> Response:
        return self.render(request, "error.html", {"message": message, "away": False}, session, status=status)


async def _genuine(request: Request, session: Session) -> bool:
    given = (await request.form()).get(CSRF_FIELD)
    return same_origin(request) and isinstance(given, str) and same_token(given, session.csrf)
