"""Turns what gRPC core writes to standard error into events of the log. Part of `api`.

Core can only write to file descriptor 2. So that becomes a pipe, which a thread reads, and the log goes where the
descriptor led before. Writes to a full pipe fail instead of blocking, since core may hold a lock that the thread needs.
"""

from __future__ import annotations

import faulthandler
import os
import re
import select
import sys
import threading
import time

import structlog

from scheduler_svc.api.server.handshakes import HandshakeFailureParser, LogLimit

_CHUNK = 64 * 1024
_POLL_INTERVAL = 1.0
_MAX_LENGTH = 2_000
_HEADER = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ [\w./-]+:\d+\] (.*)")
_CONTINUATIONS = ("=== Source Location Trace", "src/core/", " shutdown=")
_LEVELS = {"I": "debug", "W": "warning", "E": "error", "F": "critical"}

_log = structlog.get_logger(__name__)


def redirect_stderr() -> None:
    """Turns writes to descriptor 2 into events until the process ends. Call it before logging is set up."""
    stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    sys.stderr = stderr
    faulthandler.enable(stderr)  # a crash leaves no time to read the pipe
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_Reader(reading).run, name="core-log", daemon=True).start()


class _Reader:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._parser = HandshakeFailureParser()
        self._limit = LogLimit()
        self._rest = b""

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self._descriptor], [], [], _POLL_INTERVAL)
            if suppressed := self._limit.next_window(time.monotonic()):
                _log.warning("more handshakes failed than are logged", action="handshake", suppressed=suppressed)
            if not readable:
                continue
            *lines, self._rest = (self._rest + os.read(self._descriptor, _CHUNK)).split(b"\n")
            self._rest = self._rest[-_CHUNK:]
            for line in lines:
                self._log_line(line.decode("utf-8", "replace"))

    def _log_line(self, line: str) -> None:
        if failure := self._parser.next(line):
            if self._limit.allows():
                level = "info" if failure.hung_up else "warning"
                text = "a handshake failed"
                getattr(_log, level)(text, action="handshake", caller=failure.caller, reason=failure.reason)
        elif header := _HEADER.match(line):
            getattr(_log, _LEVELS[header[1]])(header[2][:_MAX_LENGTH], action="grpc")
        elif line.strip() and not line.startswith(_CONTINUATIONS):
            _log.warning(line[:_MAX_LENGTH], action="stderr")
