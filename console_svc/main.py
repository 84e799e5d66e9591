"""`contentgen-console`: reads the settings, and serves the pages until TERM or INT."""

from __future__ import annotations

import logging
import signal
import socket
import sys

import structlog
import uvicorn

from console_svc.app import build
from console_svc.config import EXIT_CONFIG, Address, ConsoleSettings, SettingsError, read_settings

STOP_TIMEOUT = 3
"""Seconds for answers under way; live pages are cut off then, and come back by themselves."""

_log = structlog.get_logger(__name__)


def main() -> None:
    """The entry point. Exit status 0 after TERM or INT; 78 if the settings are wrong."""
    try:
        settings = read_settings(sys.argv[1:])
        listening = _listen(settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CONFIG)
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _serve(settings, listening)


def _listen(settings: ConsoleSettings) -> socket.socket:
    address = settings.listen
    try:
        return socket.create_server(
            (address.host, address.port), family=socket.AF_INET6 if ":" in address.host else socket.AF_INET
        )
    except OSError as error:
        text = f"CONTENTGEN_CONSOLE_LISTEN={address}: {error.strerror}; set another address, or stop what uses it"
        raise SettingsError([text]) from None


def _serve(settings: ConsoleSettings, listening: socket.socket) -> None:
    scheme = "https" if settings.console_tls_cert else "http"
    at = Address(settings.listen.host, listening.getsockname()[1])
    _log.info(
        "ready", action="ready", console=f"{scheme}://{at}{settings.console_prefix}/", scheduler=settings.scheduler
    )
    config = uvicorn.Config(
        build(settings),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.console_behind_proxy,
        ssl_certfile=settings.console_tls_cert,
        ssl_keyfile=settings.console_tls_key,
        timeout_graceful_shutdown=STOP_TIMEOUT,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn, which stops by them, raises them again at its end
    uvicorn.Server(config).run(sockets=[listening])
    _log.info("stopped", action="stop")
