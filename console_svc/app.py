"""Builds the console: pages, static files, headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles

from console_svc.config import ConsoleSettings
from console_svc.metrics import ConsoleMetrics
from console_svc.site import NOT_FOUND, Page, Site
from console_svc.web.language import text
from console_svc.web.schedulers import Schedulers
from console_svc.web.security import OwnNames, SecurityHeaders
from console_svc.web.values import bound_ids_of_paths

STATIC = Path(__file__).parent / "static"


def _pages() -> Sequence[type[Page]]:
    """Imports all folders but `articles`, whose parsers belong in its sandbox's processes, and returns their pages."""
    for module in walk_packages([str(Path(__file__).parent)], "console_svc."):
        if module.name.count(".") > 1 and not module.name.startswith("console_svc.articles."):
            import_module(module.name)
    return sorted(Page.__subclasses__(), key=lambda page: page.link.place if page.link else 0)


PAGES = _pages()
"""In the order of the navigation."""


def build(settings: ConsoleSettings, metrics: ConsoleMetrics) -> Starlette:
    """Returns the application. Its lifespan makes and closes the channel to the schedulers."""
    bound_ids_of_paths()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        site = Site(settings, Schedulers(settings), metrics)
        app.state.site = site
        app.router.routes.extend(_under(settings.console_prefix, routes(site)))
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


def routes(site: Site) -> list[BaseRoute]:
    site.links = [page.link for page in PAGES if page.link]
    page_routes = [route for page in PAGES for route in page(site).routes()]
    return [
        *sorted(page_routes, key=lambda route: route.path),  # "{" is above letters: words come before parameters
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


async def _no_such_page(request: Request, _: Exception) -> Response:
    site: Site = request.app.state.site
    return site.failure(request, site.session(request), text("There is no such page."), NOT_FOUND)
