"""`contentgen-console`: reads the settings, and serves the pages until TERM or INT; or the command `config`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version

import structlog

from console_svc import config_command
from console_svc.app import build
from console_svc.certificates import expiries, unusable
from console_svc.config import EXIT_CONFIG, Address, ConsoleSettings, SettingsError, notices, read_settings
from console_svc.logs import configure_logging
from console_svc.metrics import ConsoleMetrics
from console_svc.probes import probes
from console_svc.serving import Server, max_connections, raise_open_files

MAX_PROBES = 64
"""Connections for metrics and probes."""

_log = structlog.get_logger(__name__)


def main() -> None:
    """The entry point. Exit status 0 after TERM or INT; 78 if the settings are wrong."""
    if sys.argv[1:2] == ["config"]:
        sys.exit(config_command.run(sys.argv[2:]))
    try:
        settings = read_settings(sys.argv[1:])
        if problems := [*unusable(settings)]:
            raise SettingsError(problems)
        pages = _listen("CONTENTGEN_CONSOLE_LISTEN", settings.listen)
        metrics = _listen("CONTENTGEN_METRICS_LISTEN", settings.metrics) if settings.metrics else None
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CONFIG)
    configure_logging(settings.log_level)
    raise_open_files()
    for notice in notices(os.environ):
        _log.warning(notice, action="setting.ignored")
    for variable, path, end in expiries(settings):
        if end <= datetime.now(UTC):
            _log.warning("a certificate has expired", action="certificate", setting=variable, file=str(path))
    asyncio.run(_serve(settings, pages, metrics))
    _log.info("stopped", action="stop")


def _listen(setting: str, address: Address) -> socket.socket:
    try:
        return socket.create_server(address, family=socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    except OSError as error:
        text = (
            f"{setting}={address}: {error.strerror}; set another address, or stop what uses it (:0 picks a free port)"
        )
        raise SettingsError([text]) from None


class _Beside(Server):
    """A server that is stopped by the one it stands beside."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: ConsoleSettings, listening: socket.socket, metrics_at: socket.socket | None) -> None:
    metrics = ConsoleMetrics()
    metrics.built(version("contentgen-grpc"))
    cert, key = settings.console_tls_cert, settings.console_tls_key
    pages = Server(build(settings, metrics), max_connections(), cert=cert, key=key)
    for number in (signal.SIGINT, signal.SIGTERM):  # until uvicorn has its own, and when it raises them at its end
        signal.signal(number, lambda *_: setattr(pages, "should_exit", True))
    beside = _Beside(probes(metrics.registry, lambda: pages.should_exit), MAX_PROBES)
    scheme = "https" if settings.console_tls_cert else "http"
    at = Address(settings.listen.host, listening.getsockname()[1])
    seen_at = f"{scheme}://{at}{settings.console_prefix}/"
    also = {} if metrics_at is None else {"metrics": str(Address(*metrics_at.getsockname()[:2]))}
    _log.info("ready", action="ready", console=seen_at, scheduler=settings.scheduler, **also)
    watched = asyncio.create_task(beside.serve([metrics_at])) if metrics_at else None
    await pages.serve([listening])
    if watched:
        beside.should_exit = True
        await watched
