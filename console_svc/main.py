"""`contentgen-console`: reads the settings, and serves the pages until TERM or INT; or the command `config`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine

import grpc
import structlog

from console_svc import config_command
from console_svc.app import build
from console_svc.certificates import Certificates
from console_svc.config import ConsoleSettings, read_settings, unusable
from console_svc.logs import configure_logging
from console_svc.metrics import ConsoleMetrics
from console_svc.serving import MAX_CONNECTIONS, MIN_OPEN_FILES, OPEN_FILES_FOR_OTHERS, Server
from contentgen import variables
from contentgen.service.launch import most_connections, raise_open_files, say_why_not
from contentgen.service.logs import follow_level_signals, ignore_level_signals
from contentgen.service.metrics import MetricsEndpoint, listen
from contentgen.service.settings import EXIT_STATUS, SettingsError
from contentgen.service.values import Address
from contentgen.version import own_version

_log = structlog.get_logger(__name__)


def main() -> None:
    """Runs the console. Exit status 0 after TERM or INT; 78 if the settings are wrong."""
    if sys.argv[1:2] == ["config"]:
        sys.exit(config_command.run(sys.argv[2:]))
    raise_open_files(MIN_OPEN_FILES)
    ignore_level_signals()
    try:
        settings = read_settings(sys.argv[1:])
        if problems := [*unusable(settings)]:
            raise SettingsError(problems)
        console_socket = listen(settings.console_listen, "CONTENTGEN_CONSOLE_LISTEN")
        metrics = ConsoleMetrics()
        metrics.built(own_version())
        cert, key = settings.console_tls_cert, settings.console_tls_key
        certificates = Certificates(settings, metrics.certificate_expiry)
        application = build(settings, metrics)
        connections = most_connections(MAX_CONNECTIONS, OPEN_FILES_FOR_OTHERS)
        pages = Server(application, connections, cert=cert, key=key)
        endpoint = _scraped(settings, metrics, pages)
    except SettingsError as error:
        say_why_not("contentgen-console", *error.problems)
        sys.exit(EXIT_STATUS)
    configure_logging(settings.log_level)
    for notice in variables.notices(os.environ):
        _log.warning(notice, action="settings.notice")
    certificates.warn()

    def renew(credentials: grpc.ChannelCredentials | None) -> None:
        application.state.site.schedulers.renew(credentials)

    asyncio.run(_serve(settings, pages, console_socket, endpoint, certificates.keep_fresh(pages, renew)))
    _log.info("stopped", action="stop")


def _scraped(settings: ConsoleSettings, metrics: ConsoleMetrics, pages: Server) -> MetricsEndpoint | None:
    """Serves the metrics if they have an address. Raises SettingsError if it can't listen there.

    A console is ready whether or not a scheduler answers: its pages say that none does, which a proxy's error page
    would not.
    """
    if settings.metrics_listen is None:
        return None
    return MetricsEndpoint(
        settings.metrics_listen, metrics.registry, live=tuple, ready=lambda: ["it stops"] if pages.should_exit else []
    )


async def _serve(
    settings: ConsoleSettings,
    pages: Server,
    console_socket: socket.socket,
    endpoint: MetricsEndpoint | None,
    meanwhile: Coroutine[None, None, None],
) -> None:
    follow_level_signals(asyncio.get_running_loop(), settings.log_level)
    for number in (signal.SIGINT, signal.SIGTERM):  # until uvicorn has its own, and when it raises them at its end
        signal.signal(number, lambda *_: setattr(pages, "should_exit", True))
    scheme = "https" if settings.console_tls_cert else "http"
    port = console_socket.getsockname()[1]
    address = f"{scheme}://{Address(settings.console_listen.host, port)}{settings.console_prefix}/"
    metrics_fields = {}
    if settings.metrics_listen and endpoint:
        metrics_fields["metrics"] = str(Address(settings.metrics_listen.host, endpoint.port))
    _log.info("ready", action="ready", console=address, scheduler=settings.scheduler, **metrics_fields)
    beside = asyncio.create_task(meanwhile)
    await pages.serve([console_socket])
    beside.cancel()
    if endpoint:
        endpoint.stop()
