"""TLS of the server: its certificates, and the log of gRPC core, which alone tells of handshakes that fail.

Certificate and CA are read again when the files change; a connection keeps the certificates of its handshake.

Core can only write to file descriptor 2. So that becomes a pipe, which a thread reads, and the log goes where the
descriptor led before. Writes to a full pipe fail instead of blocking, since core may hold a lock that the thread needs.
No API reports failed handshakes, so they are found in core's trace `handshaker`; unknown texts are ignored.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import re
import select
import ssl
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import grpc
import structlog

from contentgen.service.files import EXPIRY_CHECK_INTERVAL, unusable_authorities, unusable_pair, warn_of_expiry
from contentgen.service.settings import SettingsError
from scheduler_svc.config import Settings
from scheduler_svc.metrics import Metrics

_log = structlog.get_logger(__name__)


class Certificates:
    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        """Raises SettingsError if the files are not certificates, or do not match."""
        self._metrics = metrics
        assert settings.tls_cert
        assert settings.tls_key
        self._settings = settings
        self._cert, self._key, self._client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
        self._current = self._read()

    @staticmethod
    def files(settings: Settings) -> list[Path]:
        return [path for path in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if path]

    def reread(self) -> None:
        """Reads the files again. Raises SettingsError, and keeps the certificates it had, if they can't be used."""
        self._current = self._read()

    async def warn_of_expiry(self) -> float:
        """Logs each file whose certificates have expired or expire soon. Returns the seconds until the next check."""
        gauge = self._metrics.certificate_expiry if self._metrics else None
        await asyncio.to_thread(warn_of_expiry, self._settings, "tls_cert", "tls_client_ca", gauge=gauge)
        return EXPIRY_CHECK_INTERVAL

    def credentials(self) -> grpc.ServerCredentials:
        """Returns credentials for one port: each handshake uses the current certificates."""
        in_use: grpc.ServerCertificateConfiguration | None = None

        def update() -> grpc.ServerCertificateConfiguration | None:
            """Returns the certificates if this port doesn't have them yet. gRPC's threads call it at each handshake."""
            nonlocal in_use
            before, in_use = in_use, self._current
            return None if in_use is before else in_use

        return grpc.dynamic_ssl_server_credentials(
            self._current,
            update,  # type: ignore[arg-type]  # its types lack None, which means no update
            require_client_authentication=self._client_ca is not None,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        problems = [*unusable_pair(context, self._settings, "tls_cert", "tls_key")]
        problems += unusable_authorities(context, self._settings, "tls_client_ca")
        if problems:
            raise SettingsError(problems)
        return grpc.ssl_server_certificate_configuration(
            [(self._key.read_bytes(), self._cert.read_bytes())],
            root_certificates=self._client_ca.read_bytes() if self._client_ca else None,
        )


MAX_LOGGED = 10
"""Failures that are logged per window; further ones are counted."""
LOG_WINDOW = 10.0
"""Seconds."""

_FAILED = re.compile(r"CallNextHandshakerLocked: error=(?!OK)(\w+: .*)")
_CALLER = re.compile(r"endpoint_peer_address=(?:ipv[46]:|unix:)?([^,}]+)")
_REASON = re.compile(r"OPENSSL_internal:(\w+)(?:: (?!Invalid certificate verification context)([^:]+))?")


@dataclass(frozen=True, slots=True)
class HandshakeFailure:
    caller: str
    """host:port."""
    reason: str
    hung_up: bool
    """Whether the caller disconnected without an error, as probes do."""


class HandshakeFailureParser:
    """Finds failures in a sequence of lines: the address follows some lines after the error."""

    def __init__(self) -> None:
        self._error = ""

    def next(self, line: str) -> HandshakeFailure | None:
        """Returns the failure that this line completes, or None if it completes none."""
        if match := _FAILED.search(line):
            self._error = match[1]
        if not self._error or not (caller := _CALLER.search(line)):
            return None
        error, self._error = self._error, ""
        return HandshakeFailure(unquote(caller[1]), _reason(error), error.startswith("UNAVAILABLE"))


def _reason(error: str) -> str:
    if match := _REASON.search(error):
        return f"{match[1]}: {match[2]}" if match[2] else match[1]
    return error.partition(": ")[2][:200]


@dataclass(slots=True)
class LogLimit:
    """At most MAX_LOGGED failures per window."""

    suppressed: int = 0
    """Failures of this window that are not logged."""
    _begin: float = field(default=float("-inf"))
    _count: int = 0

    def allows(self) -> bool:
        self._count += 1
        if self._count > MAX_LOGGED:
            self.suppressed += 1
        return self._count <= MAX_LOGGED

    def next_window(self, now: float) -> int:
        """Starts a new window if the last one has ended. Returns how many failures of that one were not logged."""
        if now - self._begin < LOG_WINDOW:
            return 0
        left_out = self.suppressed
        self._begin, self._count, self.suppressed = now, 0, 0
        return left_out


_CHUNK = 64 * 1024
_POLL_INTERVAL = 1.0
_MAX_LENGTH = 2_000
_HEADER = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ [\w./-]+:\d+\] (.*)")
_CONTINUATIONS = ("=== Source Location Trace", "src/core/", " shutdown=")
_LEVELS = {"I": "debug", "W": "warning", "E": "error", "F": "critical"}


def redirect_stderr() -> None:
    """Turns writes to descriptor 2 into events until the process ends. Call it before logging is set up."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    faulthandler.enable(sys.stderr)  # a crash leaves no time to read the pipe
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_read_log, args=(reading,), name="core-log", daemon=True).start()


def _read_log(descriptor: int) -> None:
    parser, limit, rest = HandshakeFailureParser(), LogLimit(), b""
    while True:
        readable, _, _ = select.select([descriptor], [], [], _POLL_INTERVAL)
        if suppressed := limit.next_window(time.monotonic()):
            _log.warning("more handshakes failed than are logged", action="handshake", suppressed=suppressed)
        if not readable:
            continue
        *lines, rest = (rest + os.read(descriptor, _CHUNK)).split(b"\n")
        rest = rest[-_CHUNK:]
        for line in lines:
            _log_line(line.decode("utf-8", "replace"), parser, limit)


def _log_line(line: str, parser: HandshakeFailureParser, limit: LogLimit) -> None:
    if failure := parser.next(line):
        if limit.allows():
            log = _log.info if failure.hung_up else _log.warning
            log("a handshake failed", action="handshake", caller=failure.caller, reason=failure.reason)
    elif header := _HEADER.match(line):
        getattr(_log, _LEVELS[header[1]])(header[2][:_MAX_LENGTH], action="grpc")
    elif line.strip() and not line.startswith(_CONTINUATIONS):
        _log.warning(line[:_MAX_LENGTH], action="stderr")
