"""Templates, and what all of them know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request

from console_svc.articles.texts import visible
from console_svc.web.language import NAMES, Texts, language_of
from console_svc.web.security import CSRF_FIELD, page_before
from contentgen import Task
from contentgen.doctor.readable import UNITS
from contentgen.submit_fields import BRIEF


class Renderer:
    def __init__(self, prefix: str) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parents[1]),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            length_of_time=length_of_time, moment=moment, run_time=run_time, visible=visible
        )
        self._environment.globals.update(prefix=prefix, languages=NAMES, csrf_field=CSRF_FIELD, now=time.time)
        self._environment.globals["brief_fields"] = BRIEF

    def text(self, request: Request, template: str, values: Mapping[str, Any]) -> str:
        """Fills in a template in the language of the request."""
        texts = Texts(language_of(request))
        address = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        common_values = {
            "_": texts,
            "_n": texts.counted,
            "language": texts.language,
            "path": request.url.path,
            "address": address,
            "here": page_before(request) if request.method == "POST" else address,  # shown by a GET, if anything
        }
        return self._environment.get_template(template).render({**common_values, **values})


def length_of_time(seconds: float | None) -> str:
    """Returns a length such as `42 s`, `3 min 5 s`, `2 h 10 min` or `4 d 2 h`; empty for None."""
    if seconds is None:
        return ""
    whole_seconds = int(seconds)
    for unit, name, lesser, lesser_name in UNITS:
        if whole_seconds >= unit:
            return f"{whole_seconds // unit} {name} {whole_seconds % unit // lesser} {lesser_name}"
    return f"{whole_seconds} s"


def run_time(task: Task) -> float | None:
    """Returns the seconds that the last attempt of an ended task took; None if it has not ended, or never started."""
    start, end = task["started_at"], task["completed_at"]
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() if start and end else None


def moment(text: str | None) -> str:
    """Returns an ISO 8601 time as `2026-01-31 12:00:05 UTC`; empty for None. A script shows it in the reader's zone."""
    if text is None:
        return ""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
