"""What gRPC core writes to standard error, as events of the log. Part of `api`.

Core knows no other way out than file descriptor 2. So that becomes a pipe, which a thread reads, and the log goes where
the descriptor led before. A full pipe refuses what comes, and never blocks: core may write while it holds what the
thread needs.
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

from scheduler_svc.api.server.handshakes import Failures, Limit

_CHUNK = 64 * 1024
_LOOK_INTERVAL = 1.0
_MAX_TEXT = 2_000
_HEADER = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ [\w./-]+:\d+\] (.*)")
_CONTINUED = ("=== Source Location Trace", "src/core/", " shutdown=")
_LEVELS = {"I": "debug", "W": "warning", "E": "error", "F": "critical"}

_log = structlog.get_logger(__name__)


def take_over() -> None:
    """Turns what is written to descriptor 2 into events, until the process ends. Call it before logging is set up."""
    kept = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    sys.stderr = kept
    faulthandler.enable(kept)  # a crash leaves no time to read the pipe
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_Reader(reading).run, name="core-log", daemon=True).start()


class _Reader:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._failures = Failures()
        self._limit = Limit()
        self._rest = b""

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self._descriptor], [], [], _LOOK_INTERVAL)
            if left_out := self._limit.over(time.monotonic()):
                _log.warning("more handshakes failed than are told one by one", action="handshake", left_out=left_out)
            if not readable:
                continue
            *lines, self._rest = (self._rest + os.read(self._descriptor, _CHUNK)).split(b"\n")
            self._rest = self._rest[-_CHUNK:]
            for line in lines:
                self._tell(line.decode("utf-8", "replace"))

    def _tell(self, line: str) -> None:
        if failure := self._failures.next(line):
            if self._limit.admits():
                level = "info" if failure.hung_up else "warning"
                text = "a handshake failed"
                getattr(_log, level)(text, action="handshake", caller=failure.caller, reason=failure.reason)
        elif header := _HEADER.match(line):
            getattr(_log, _LEVELS[header[1]])(header[2][:_MAX_TEXT], action="grpc")
        elif line.strip() and not line.startswith(_CONTINUED):
            _log.warning(line[:_MAX_TEXT], action="stderr")
