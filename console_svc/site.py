"""What the pages share: who has signed in, and how, forms that change something, what an error looks like."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

import structlog
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from console_svc.articles.sandbox import ArticleSandbox
from console_svc.config import ConsoleSettings
from console_svc.metrics import ConsoleMetrics
from console_svc.web.filters import Filters, given
from console_svc.web.forms import MAX_FORM, text_of, with_form
from console_svc.web.language import COOKIE, NAMES, Texts, language_of, refused, text
from console_svc.web.live import LiveTasks
from console_svc.web.rendering import Renderer
from console_svc.web.schedulers import Schedulers
from console_svc.web.security import CSRF_FIELD, SignInTries, address_of, is_local, page_before, same_origin, same_text
from console_svc.web.sessions import AGE_LIMIT, REVOKED, SIGNED_OUT, SIGNED_OUT_EVERYWHERE, Session, Sessions
from console_svc.web.standing import Count
from console_svc.web.work import Work, WorkRegistry, soon
from contentgen import RequestError, Unauthenticated, Unavailable

NO_CONTENT, SEE_OTHER = 204, 303
BAD, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, BROKEN, AWAY = 400, 401, 403, 404, 409, 500, 503
HEADINGS = {
    FORBIDDEN: text("You may not do this"),
    NOT_FOUND: text("Not found"),
    BROKEN: text("Something is broken here"),
}
"""Of the pages that say what is wrong, by their status."""
TOKENS_INTERVAL = 10.0
"""Seconds for which schedulers that ask for tokens are not asked again whether they do."""
FOREIGN_FORM = text("This form is not from this page, or too old. Reload the page.")
UNDONE = text(
    "Nothing was decided or changed, for the schedulers do not answer. What you typed is still here: send it again once"
    " they do."
)
UNSURE = text(
    "No answer came from the schedulers that says whether this was done: it may have been. What you typed is still"
    " here: look before you send it again."
)
EDITING, OPERATION = text("Editing"), text("Operation")
"""The groups of the navigation."""
BY_SCRIPT = "hx-boosted"
"""The header of a form that a script has sent in place of the browser: where to go next is said to the script."""
WITH_NOTICES = "form"
"""What a script says that shows the notices of the page that it asks for."""
NOT_NAMED = text("The proxy before this console signs users in, and it has named no token.")
UNKNOWN_TO_US = text("The schedulers do not know the token that the proxy before this console has named.")
Handler = Callable[..., Awaitable[Response]]
"""Its arguments are the request, the session, and the parameters of the path by their names."""
Served = Callable[[Request], Awaitable[Response]]
Marked = TypeVar("Marked", bound=Callable[..., Awaitable[Response]])
T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Link(NamedTuple):
    """A page in the navigation, which is in the order of `place`, for those who may call `method`.

    `group` is the text above those that belong together; empty: it stands apart. `counted` returns what waits there.
    """

    path: str
    label: str
    place: int
    method: str = ""
    group: str = OPERATION
    counted: Count | None = None


class Page:
    """A page, or some pages that belong together: each method that `get` or `post` marks answers at a path."""

    link: ClassVar[Link | None] = None
    """The link in the navigation; None if other pages lead there."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        methods = [getattr(self, name) for name in vars(type(self))]
        return [method.route(self._site, method) for method in methods if hasattr(method, "route")]


def get(path: str, *, everybody: bool = False, filters: Filters | None = None) -> Callable[[Marked], Marked]:
    """Marks a method that only shows something. `everybody`: nobody has to sign in. `filters`: those of its address."""
    return _marks(
        lambda site, method: site.route("GET", path, method if everybody else site.signed_in(method), filters)
    )


def post(
    path: str, *, everybody: bool = False, calls: bool = True, limit: int = MAX_FORM
) -> Callable[[Marked], Marked]:
    """Marks a method for a form, which has to hold the session's CSRF token: `parts.html` has its field.

    `calls`: whether it needs a scheduler at once. `limit`: bytes that it may have, files included.
    """
    return _marks(
        lambda site, method: site.route(
            "POST", path, method if everybody else site.signed_in(site.form(method, calls=calls, limit=limit))
        )
    )


def _marks(route: Callable[[Site, Any], Route]) -> Callable[[Marked], Marked]:
    def mark(method: Marked) -> Marked:
        method.__dict__["route"] = route
        return method

    return mark


class NotDone(Exception):
    """Ends a handler: its page says what is wrong."""

    def __init__(self, message: str, status: int = BAD) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def present(value: T | None, message: str) -> T:
    """Returns the value. Raises NotDone for None: not found."""
    if value is None:
        raise NotDone(message, NOT_FOUND)
    return value


class Site:
    def __init__(self, settings: ConsoleSettings, schedulers: Schedulers, metrics: ConsoleMetrics) -> None:
        self.settings = settings
        self.schedulers = schedulers
        self.metrics = metrics
        self.sessions = Sessions()
        self.tries = SignInTries()
        self.live = LiveTasks(self.sessions)
        self.articles = ArticleSandbox()
        self.work = WorkRegistry()
        self.renderer = Renderer(settings.console_prefix)
        self.links: Sequence[Link] = ()
        self.when_changed: list[Callable[[Session], None]] = [lambda session: session.standing.forget()]
        """Called before a form of a session changes something."""
        self._tokens_until = 0.0
        self._cookie = "__Host-session" if settings.secure else "session"
        metrics.follow(lambda: len(self.sessions), lambda: self.live.pages, lambda: self.live.watches)

    def path(self, path: str) -> str:
        return f"{self.settings.console_prefix}{path}"

    def see(self, path: str) -> Response:
        """Leads to a page after a form has done its work."""
        return RedirectResponse(self.path(path), SEE_OTHER)

    def done(self, session: Session, notice: str, path: str, **values: object) -> Response:
        """Leads to a page that says what a form has done, with `{name}` filled in."""
        session.tell(notice, **values)
        return self.see(path)

    async def see_work(self, session: Session, work: Work, notice: str, seconds: float) -> Response:
        """Leads to the page of this work, or back with a notice if it ends well within so many seconds."""
        if await soon(work, seconds) and not (work.failed or work.stopped):
            return self.done(session, notice, work.back, n=work.done)
        return self.see(f"/work/{work.key}")

    def render(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        session: Session | None = None,
        *,
        status: int = 200,
        bad: object = None,
    ) -> HTMLResponse:
        """Returns a page. Its status is 400 if there is anything `bad` in what was typed."""
        filters = given(request, getattr(request.state, "filters", {}), Texts(language_of(request)))
        common_values = {
            "session": session,
            "filters": filters,
            "links": self.offered(session),
            # a script takes `main`, without notices, unless it is that of a form
            "notices": session.take_notices(request.url.path)
            if session and request.headers.get("hx-request", WITH_NOTICES) == WITH_NOTICES
            else (),
        }
        html = self.renderer.text(request, template, {**common_values, **values})
        return HTMLResponse(html, BAD if bad or filters.unknown else status)

    def offered(self, session: Session | None) -> Sequence[Link]:
        """Returns the pages in the navigation of a user."""
        return [link for link in self.links if session and (not link.method or session.may(link.method))]

    def failure(
        self,
        request: Request,
        session: Session | None,
        message: str,
        status: int,
        fields: Sequence[tuple[str, str]] = (),
    ) -> Response:
        """Returns the page that says what is wrong. `fields`: of a form, to be sent once more."""
        is_away = status == AWAY
        values = {"message": message, "away": is_away, "tries": is_away and request.method == "GET", "fields": fields}
        values |= {"status": status, "headings": HEADINGS}
        return self.render(request, "web/error.html", values, session, status=status)

    def session(self, request: Request) -> Session | None:
        """Returns the session of the cookie; where a proxy names who asks, only if it names the same token."""
        session = self.sessions.find(request.cookies.get(self._cookie, ""))
        if session and self.settings.console_token_header and (session.owner or "") != self._named_token(request):
            return None
        return session

    def why_ended(self, request: Request) -> str:
        """Returns a text that says why a browser has to sign in; empty if it has not done so before."""
        if self.settings.console_token_header:
            return UNKNOWN_TO_US if self._named_token(request) else NOT_NAMED
        return self.sessions.why_ended(request.cookies.get(self._cookie, ""))

    async def begin(self, token: str | None) -> Session | None:
        """Returns a token's new session; None if the schedulers do not know it. Raises RequestError if none answers."""
        client = self.schedulers.client(token)
        try:
            return self.sessions.begin(token, client, await client.get_caller())
        except Unauthenticated:  # or they ask for a token, and there is none
            return None

    def sign_in_form(self, request: Request, problem: str = "", status: int = 200, *, why: str = "") -> Response:
        settings = self.settings
        values = {"problem": problem, "why": why, "proxied": bool(settings.console_token_header)}
        values |= {"provided": bool(settings.oidc_issuer), "next": request.query_params.get("next", "")}
        return self.render(request, "web/signin.html", values, status=status)

    def onward(self, request: Request, message: str, label: str, address: str) -> Response:
        """Returns a page that goes on by itself to an address elsewhere, where no form may lead; or tells a script."""
        if BY_SCRIPT in request.headers:
            return RedirectResponse(address, SEE_OTHER)
        return self.render(request, "web/onward.html", {"message": message, "label": label, "onward": address})

    def keep(self, response: Response, session: Session) -> None:
        """Gives the browser its cookie: for this site alone, out of reach for scripts."""
        response.set_cookie(
            self._cookie,
            session.key,
            max_age=int(2 * AGE_LIMIT),  # so that the form can say that it was too old
            path="/",
            secure=self.settings.secure,
            httponly=True,
            samesite="strict",
        )

    def route(self, method: str, path: str, serve: Served, filters: Filters | None = None) -> Route:
        """Returns a route whose answers are measured, and which answers whatever happens."""

        async def served(request: Request) -> Response:
            start, status, request.state.filters = time.monotonic(), BROKEN, filters or {}
            try:
                response = await serve(request)
                status = response.status_code
            except HTTPException as refusal:
                status = refusal.status_code
                response = self.failure(request, self.session(request), refusal.detail, status)
            except Exception:  # noqa: BLE001 - whatever it is, somebody waits for an answer
                _log.exception("a page failed", action="page.failed", page=path)
                response = self.failure(
                    request, self.session(request), "The console has failed. Its log says why.", BROKEN
                )
            self.metrics.answered(path, request.method, status, time.monotonic() - start)
            return response

        return Route(path, served, methods=[method])

    def signed_in(self, handler: Handler) -> Served:
        async def served(request: Request) -> Response:
            try:
                session = self.session(request) or await self._by_itself(request)
            except RequestError:
                return self._away(request, None)
            if session is None:
                return self._to_sign_in(request)
            if request.method == "GET":
                counted = {link.path: link.counted for link in self.offered(session) if link.counted}
                await session.standing.renew(session, counted)
            await session.accounts.refresh(session.client)
            response = await self._served(handler, _limited(request, session), session)
            if response.status_code == SEE_OTHER:
                session.led(request.url.path, urlsplit(response.headers["location"]).path)
            if response.status_code == SEE_OTHER and BY_SCRIPT in request.headers:
                response = Response(status_code=NO_CONTENT, headers={"hx-redirect": response.headers["location"]})
            if request.cookies.get(self._cookie) != session.key and self.sessions.find(session.key):
                self.keep(response, session)
            return response

        return served

    def form(self, handler: Handler, *, calls: bool, limit: int) -> Handler:
        async def served(request: Request, session: Session, **parameters: Any) -> Response:
            own_request = await _genuine(request, session, limit)
            if own_request is None:
                return self.failure(request, session, FOREIGN_FORM, FORBIDDEN)
            for call in self.when_changed:
                call(session)
            if calls and not await self.schedulers.connected():
                return await self._unanswered(own_request, session, UNDONE)
            try:
                return await handler(own_request, session, **parameters)
            except Unavailable:
                return await self._unanswered(own_request, session, UNSURE)

        return served

    async def _served(self, handler: Handler, request: Request, session: Session) -> Response:
        try:
            return await handler(request, session, **request.path_params)
        except NotDone as end:
            return self.failure(request, session, end.message, end.status)
        except Unauthenticated:  # the token was revoked
            self.sessions.end(session, REVOKED, everywhere=True)
            return self._to_sign_in(request)
        except Unavailable:
            return self._away(request, session)
        except RequestError as error:
            statuses = {"NOT_FOUND": NOT_FOUND, "PERMISSION_DENIED": FORBIDDEN}
            return self.failure(request, session, refused(error), statuses.get(error.code or "", BAD))

    def _away(self, request: Request, session: Session | None) -> Response:
        """Returns a page that tries again by itself; for a form one that does not."""
        message = UNDONE if request.method == "POST" else text("This page tries again by itself.")
        return self.failure(request, session, message, AWAY)

    async def _unanswered(self, request: Request, session: Session, message: str) -> Response:
        """Returns a page that has what was sent, so that it can be sent again."""
        items = (await request.form()).multi_items()
        fields = [(name, value) for name, value in items if isinstance(value, str)]
        return self.failure(request, session, message, AWAY, fields)

    def _to_sign_in(self, request: Request) -> Response:
        """Leads to the sign-in form, which leads back; a script is told to load it as a whole page."""
        form, scripted = self.path("/login"), "hx-request" in request.headers
        query = f"?{request.url.query}" if request.url.query else ""
        is_page = request.method == "GET" and not scripted
        back = (request.url.path + query if is_page else page_before(request)) or self.path("/")
        form = f"{form}?{urlencode({'next': back})}" if back != self.path("/") else form
        if scripted:
            return Response(status_code=UNAUTHORIZED, headers={"hx-redirect": form})
        return RedirectResponse(form, SEE_OTHER)

    async def _by_itself(self, request: Request) -> Session | None:
        """Returns a session for whom nobody has to sign in: the proxy names the token, or the schedulers need none."""
        if token := self._named_token(request):
            return self.sessions.of_owner(token) or await self.begin(token)
        if time.monotonic() < self._tokens_until:
            return None
        session = await self.begin(None)
        if session is None:
            self._tokens_until = time.monotonic() + TOKENS_INTERVAL
        return session

    def _named_token(self, request: Request) -> str:
        """Returns the token that a proxy names; empty if it names none, or there is no such proxy."""
        header = self.settings.console_token_header
        return request.headers.get(header, "").strip() if header else ""


class _OfAccount(Request):
    """A request of a session that is switched to an account: its address asks for that one where it names none."""

    def __init__(self, request: Request, account_id: int) -> None:
        super().__init__(request.scope, request.receive)
        named = [(name, value) for name, value in request.query_params.multi_items() if name != "account"]
        self._query_params = QueryParams([*named, ("account", str(account_id))])


def _limited(request: Request, session: Session) -> Request:
    is_named = request.query_params.get("account", "").strip()
    return request if is_named or not session.account_id else _OfAccount(request, session.account_id)


async def _genuine(request: Request, session: Session, limit: int) -> Request | None:
    """Returns the request with its form; None if that is of no page of this session."""
    if not same_origin(request):
        return None
    form_request = await with_form(request, limit)
    return form_request if same_text(text_of(await form_request.form(), CSRF_FIELD), session.csrf) else None


TOO_MANY = 429
MAX_SIGN_IN = 16 << 10
"""Bytes of the form, which anybody may send."""
_YEAR = 365 * 86_400
_TOKEN = re.compile(r"[!-~]{1,4096}")


class SignIn(Page):
    @get("/login", everybody=True)
    async def show(self, request: Request) -> Response:
        if self._site.session(request):
            return self._next(request)
        return self._site.sign_in_form(request, why=self._site.why_ended(request))

    @post("/login", everybody=True)
    async def submit(self, request: Request) -> Response:
        site, count = self._site, self._site.metrics.signed_in
        if not same_origin(request):
            count("foreign_form")
            return self._site.sign_in_form(
                request, text("This form is not from this page. Reload the page."), FORBIDDEN
            )
        address = address_of(request, behind_proxy=site.settings.console_behind_proxy)
        if not site.tries.admit(address):
            count("too_many")
            return self._site.sign_in_form(request, text("Too many tries. Wait a minute."), TOO_MANY)
        token = text_of(await (await with_form(request, MAX_SIGN_IN)).form(), "token")
        try:
            session = await site.begin(token) if _TOKEN.fullmatch(token) else None
        except RequestError:
            count("schedulers_away")
            return self._site.sign_in_form(request, text("No scheduler answers. Try again in a moment."), AWAY)
        if session is None:
            count("unknown_token")
            return self._site.sign_in_form(request, text("The schedulers do not know this token."), FORBIDDEN)
        count("accepted")
        site.tries.forgive(address)
        response = self._next(request)
        site.keep(response, session)
        return response

    def _next(self, request: Request) -> Response:
        """Leads to the page that was asked for before the form."""
        address = request.query_params.get("next", "")
        return RedirectResponse(address if is_local(address) else self._site.path("/"), SEE_OTHER)

    @post("/logout", calls=False)
    async def sign_out(self, request: Request, session: Session) -> Response:
        everywhere = (await request.form()).get("everywhere") == "yes"
        why = SIGNED_OUT_EVERYWHERE if everywhere else SIGNED_OUT
        self._site.sessions.end(session, why, everywhere=everywhere)
        if session.exit:
            return self._site.onward(request, why, text("Sign out at your organization, too"), session.exit)
        return self._site.see("/login")

    @get("/language/{language}", everybody=True)
    async def set_language(self, request: Request) -> Response:
        """Sets the language, and leads back to the page."""
        response = RedirectResponse(page_before(request) or self._site.path("/"), SEE_OTHER)
        if (language := request.path_params["language"]) in NAMES:
            secure = self._site.settings.secure
            response.set_cookie(COOKIE, language, max_age=_YEAR, path="/", samesite="lax", secure=secure)
        return response
