"""Builds the console: routes, pages, static files, headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from console_svc.config import ConsoleSettings
from console_svc.pages.overview import Overview
from console_svc.pages.signin import SignIn
from console_svc.pages.task import TaskPage
from console_svc.pages.tasks import Tasks
from console_svc.schedulers import Schedulers
from console_svc.security import SecurityHeaders
from console_svc.site import NOT_FOUND, Site

STATIC = Path(__file__).parent / "static"


def build(settings: ConsoleSettings) -> Starlette:
    """The application. Its lifespan makes and closes the channel to the schedulers."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        site = Site(settings, Schedulers(settings))
        app.router.routes.extend(_under(settings.console_prefix, _routes(site)))
        try:
            yield
        finally:
            await site.live.close()
            await site.schedulers.close()

    return Starlette(
        lifespan=lifespan,
        middleware=[Middleware(SecurityHeaders, secure=settings.secure)],
        exception_handlers={NOT_FOUND: _no_such_page},
    )


def _under(prefix: str, routes: list[BaseRoute]) -> list[BaseRoute]:
    return [Mount(prefix, routes=routes)] if prefix else routes


def _routes(site: Site) -> list[BaseRoute]:
    sign_in, overview, tasks, task = SignIn(site), Overview(site), Tasks(site), TaskPage(site)
    return [
        Route("/login", sign_in.form, methods=["GET"]),
        Route("/login", sign_in.submit, methods=["POST"]),
        Route("/logout", site.signed_in(sign_in.out), methods=["POST"]),
        Route("/language/{language}", sign_in.language, methods=["GET"]),
        Route("/", site.signed_in(overview.show), methods=["GET"]),
        Route("/tasks", site.signed_in(tasks.show), methods=["GET"]),
        Route("/tasks/live", site.signed_in(tasks.live), methods=["GET"]),
        Route("/tasks/{task_id}", site.signed_in(task.show), methods=["GET"]),
        Route("/tasks/{task_id}/cancel", site.signed_in(task.cancel), methods=["POST"]),
        Route("/tasks/{task_id}/retry", site.signed_in(task.retry), methods=["POST"]),
        Route("/healthz", _healthy, methods=["GET"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _no_such_page(_: Request, __: Exception) -> Response:
    return PlainTextResponse("There is no such page.\n", NOT_FOUND)
