"""Parses a CLI's progress: progress lines, and `progress` in a status document.

A progress line, on stdout or stderr, is one of

    progress: 40% writing the second section
    {"progress": 40, "step": "writing", "message": "the second section"}
    {"progress": {"percent": 40, "step": "writing", "message": "the second section"}}

The parser is tolerant (case, a missing colon, decimals, no `step` or `message`), and ignores everything else. Percent
is clamped to 0 to 100; ANSI codes and control characters are removed from texts, which are cut.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from worker_svc.outcome import clean, is_progress

MAX_LINE = 8_000
MAX_STEP = 200
MAX_PROGRESS_MESSAGE = 1_000

_LINE = re.compile(r"\s*progress\s*[:=]?\s*(\d{1,3})(?:\.\d*)?\s*%\s*(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)


class RunProgress(NamedTuple):
    percent: int | None
    step: str
    message: str


def of_line(line: str) -> RunProgress | None:
    """Returns the progress in a line of output, or None. Lines above 8,000 characters have none."""
    if len(line) > MAX_LINE:
        return None
    text = clean(line, MAX_LINE)
    if text.startswith("{"):
        return _of_json(text)
    match = _LINE.match(text)
    return RunProgress(_percent(int(match[1])), match[2].strip()[:MAX_STEP], "") if match else None


def of_document(document: Mapping[str, Any]) -> RunProgress | None:
    """Returns the progress in a status document: a number, or an object with `percent`, `step` and `message`."""
    value = document.get("progress")
    source = value if isinstance(value, dict) else document
    percent = _percent(source.get("percent") if source is value else value)
    step, message = _text(source, "step", MAX_STEP), _text(source, "message", MAX_PROGRESS_MESSAGE)
    return None if percent is None and not step and not message else RunProgress(percent, step, message)


def _of_json(text: str) -> RunProgress | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return of_document(document) if is_progress(document) else None


def _percent(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(min(max(value, 0), 100))


def _text(source: Mapping[str, Any], key: str, limit: int) -> str:
    value = source.get(key)
    return clean(value, limit) if isinstance(value, str) else ""
