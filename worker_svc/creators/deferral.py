"""Deferrals: a CLI asks to come back later by exit status 75, and may say when.

Layer: inside creators, below base.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from worker_svc.outcome import Deferred, ExitStatus, clean, documents, is_finite

DEFAULT_PAUSE = 30.0
"""Seconds, if the CLI does not say."""
MAX_PAUSE = 86_400.0
"""Seconds, at most; the scheduler's limit is the same."""

_MAX_MESSAGE = 200
_LINE = re.compile(r"^\s*retry-after\s*:\s*(\d{1,20}(?:\.\d{1,20})?)\s*s?\s*$", re.IGNORECASE)


def of_exit(ended: ExitStatus, stdout: bytes, stderr: str) -> Deferred | None:
    """Returns the deferral that an exit asks for; None if its status is another one.

    The pause is in a line `retry-after: N` on stderr, or else in a document `{"retry_after": N}` on stdout. The last
    one counts.
    """
    if ended.code != os.EX_TEMPFAIL:
        return None
    lines = stderr.splitlines()
    pauses = [float(match[1]) for line in lines if (match := _LINE.match(line))] or list(_pauses_in(stdout))
    texts = [line.strip() for line in lines if line.strip() and not _LINE.match(line)]
    return deferred(pauses[-1] if pauses else DEFAULT_PAUSE, texts[-1] if texts else "")


def deferred(pause: float, message: str) -> Deferred:
    """Returns a deferral with a bounded pause and text."""
    return Deferred(min(max(pause, 0.0), MAX_PAUSE), clean(message, _MAX_MESSAGE))


def _pauses_in(stdout: bytes) -> Iterator[float]:
    for document in documents(stdout.decode("utf-8", "replace")):
        pause = document.get("retry_after") if document else None
        if isinstance(pause, int | float) and not isinstance(pause, bool) and is_finite(pause):
            yield float(pause)
