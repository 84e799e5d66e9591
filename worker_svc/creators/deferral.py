"""A CLI that asks to come back later, as one does whose model answers 429: exit status 75, and where it says so, when.

Layer: inside creators, below base.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from worker_svc.outcome import Deferred, ExitStatus, clean, documents, is_finite

DEFAULT_PAUSE = 30.0
"""Seconds, where the CLI says nothing."""
MAX_PAUSE = 86_400.0
"""Seconds that are waited at most, whatever the CLI says; the scheduler does not wait for longer either."""

_MAX_MESSAGE = 200
_LINE = re.compile(r"^\s*retry-after\s*:\s*(\d{1,20}(?:\.\d{1,20})?)\s*s?\s*$", re.IGNORECASE)


def of_exit(ended: ExitStatus, stdout: bytes, stderr: str) -> Deferred | None:
    """What the CLI asked for by its exit; None where that was any other.

    The pause is in a line `retry-after: N` on stderr, else in a document `{"retry_after": N}` on stdout; of several the
    last one counts.
    """
    if ended.code != os.EX_TEMPFAIL:
        return None
    lines = stderr.splitlines()
    pauses = [float(found[1]) for line in lines if (found := _LINE.match(line))] or list(_stated(stdout))
    said = [line.strip() for line in lines if line.strip() and not _LINE.match(line)]
    return deferred(pauses[-1] if pauses else DEFAULT_PAUSE, said[-1] if said else "")


def deferred(pause: float, message: str) -> Deferred:
    """A deferral with a bounded pause and a bounded text."""
    return Deferred(min(max(pause, 0.0), MAX_PAUSE), clean(message, _MAX_MESSAGE))


def _stated(stdout: bytes) -> Iterator[float]:
    for document in documents(stdout.decode("utf-8", "replace")):
        pause = document.get("retry_after") if document else None
        if isinstance(pause, int | float) and not isinstance(pause, bool) and is_finite(pause):
            yield float(pause)
