"""`/metrics`, `/livez` and `/readyz` on an address of their own.

A console is ready whether or not a scheduler answers: its pages say that none does, which a proxy's error page would
not.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def probes(registry: CollectorRegistry, stopping: Callable[[], bool]) -> Starlette:
    """The application for `CONTENTGEN_METRICS_LISTEN`."""

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        return PlainTextResponse("it stops\n", 503) if stopping() else PlainTextResponse("ok\n")

    async def metrics(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": kind})

    served = Starlette(routes=[Route("/livez", live), Route("/readyz", ready), Route("/metrics", metrics)])
    served.router.redirect_slashes = False
    return served
