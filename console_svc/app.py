"""Builds the console: pages, static files, headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles

from console_svc.accounts.page import Accounts
from console_svc.audit.page import Audit
from console_svc.config import ConsoleSettings
from console_svc.contents.content import Assets, ContentPage, Contents, Edit
from console_svc.metrics import ConsoleMetrics
from console_svc.overview.page import Overview
from console_svc.pool.page import PublishPool
from console_svc.review.desk import ReviewDesk
from console_svc.schedules.page import Schedules
from console_svc.site import NOT_FOUND, Page, SignIn, Site
from console_svc.submits.page import New
from console_svc.tasks.bulk import TaskMoves
from console_svc.tasks.list import Tasks
from console_svc.tasks.task import TaskPage
from console_svc.web.schedulers import Schedulers
from console_svc.web.security import OwnNames, SecurityHeaders
from console_svc.web.values import bound_ids_of_paths
from console_svc.webhooks.page import Webhooks
from console_svc.workers.page import Workers

STATIC = Path(__file__).parent / "static"
PAGES: Sequence[type[Page]] = (
    SignIn,
    Overview,
    New,
    Tasks,
    TaskMoves,
    TaskPage,
    ReviewDesk,
    Contents,
    ContentPage,
    Edit,
    Assets,
    PublishPool,
    Schedules,
    Workers,
    Accounts,
    Webhooks,
    Audit,
)
"""In the order of the navigation."""


def build(settings: ConsoleSettings, metrics: ConsoleMetrics) -> Starlette:
    """Returns the application. Its lifespan makes and closes the channel to the schedulers."""
    bound_ids_of_paths()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        site = Site(settings, Schedulers(settings), metrics)
        app.router.routes.extend(_under(settings.console_prefix, _routes(site)))
        try:
            yield
        finally:
            await site.live.close()
            await asyncio.to_thread(site.articles.close)
            await site.work.close()
            await site.schedulers.close()

    console = Starlette(
        lifespan=lifespan,
        middleware=[
            Middleware(SecurityHeaders, secure=settings.secure),
            Middleware(OwnNames, names=settings.console_hosts, secure=settings.secure),
        ],
        exception_handlers={NOT_FOUND: _no_such_page},
    )
    console.router.redirect_slashes = False  # it would redirect to whatever host the request names
    return console


def _under(prefix: str, routes: list[BaseRoute]) -> list[BaseRoute]:
    """Puts the routes below a prefix, which by itself leads to the first page."""
    if not prefix:
        return routes
    root = Route(prefix, lambda _: RedirectResponse(f"{prefix}/"), methods=["GET"])
    return [root, Mount(prefix, app=Router(routes, redirect_slashes=False))]


def _routes(site: Site) -> list[BaseRoute]:
    pages = [page(site) for page in PAGES]
    site.links = [page.link for page in pages if page.link]
    return [
        *(route for page in pages for route in page.routes()),
        Route("/healthz", _healthy, methods=["GET"]),
        Mount("/static", _Static(directory=STATIC)),
    ]


class _Static(StaticFiles):
    """Static files, which a browser keeps, and of which it asks whether they are still the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _no_such_page(_: Request, __: Exception) -> Response:
    return PlainTextResponse("There is no such page.\n", NOT_FOUND)
