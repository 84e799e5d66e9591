"""Templates, and what all of them know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.requests import Request

from console_svc.articles.texts import visible
from console_svc.web.language import NAMES, PageText, Texts, language_of, plural, text
from console_svc.web.security import CSRF_FIELD, page_before
from console_svc.web.values import MAX_DIGITS
from contentgen import Task
from contentgen.submit_fields import BRIEF

HUES = 12
"""Colours of accounts, in `accounts.css`; neighbours look different."""


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
            length_of_time=length_of_time, ago=ago, moment=moment, breakable=breakable, visible=visible
        )
        self._environment.filters.update(account=account, typed_account=typed_account, run_time=run_time)
        self._environment.globals.update(prefix=prefix, languages=NAMES, csrf_field=CSRF_FIELD, now=time.time)
        self._environment.globals["brief_fields"] = BRIEF

    def text(self, request: Request, template: str, values: Mapping[str, Any]) -> str:
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


@pass_context
def account(context: Context, account_id: int | None) -> str:
    """Returns an account's name in its colour, or its number if the name is not known; empty for none."""
    if not account_id:
        return ""
    name = context["session"].accounts.name(account_id) or f"#{account_id}"
    colour = account_id % HUES
    return Markup('<span class="account hue-{}" title="#{}" translate="no"><bdi>{}</bdi></span>').format(
        colour, account_id, visible(name)
    )


@pass_context
def typed_account(context: Context, text: str) -> str:
    """Returns what people type for the account that an address or a form has: its name, if it has the number."""
    is_number = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    return context["session"].accounts.typed(int(text)) if is_number else text


UNITS = (
    (86_400, plural("{n} d", "{n} d")),
    (3_600, plural("{n} h", "{n} h")),
    (60, plural("{n} min", "{n} min")),
    (1, plural("{n} s", "{n} s")),
)
"""Seconds of each unit, and how many of it a page says; the largest first."""


@pass_context
def length_of_time(context: Context, seconds: float | None, units: int = 2) -> str:
    """Returns a length in its largest units, such as `42 s`, `30 min` or `2 h 10 min`; empty for None."""
    if seconds is None:
        return ""
    parts: list[tuple[int, PageText]] = []
    rest = int(seconds)
    for unit, counted in UNITS:
        number, rest = divmod(rest, unit)
        if parts or number or unit == 1:
            parts.append((number, counted))
    return " ".join(context["_"](counted, n=n) for i, (n, counted) in enumerate(parts[:units]) if n or not i)


@pass_context
def ago(context: Context, iso: str | None) -> str:
    """Returns how far an ISO 8601 time is from now, such as `5 min ago`; empty for None. A script keeps it right."""
    if iso is None:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(iso)).total_seconds()
    length = length_of_time(context, abs(seconds), units=1)
    return str(context["_"](text("{time} ago") if seconds >= 0 else text("in {time}"), time=length))


def run_time(task: Task) -> float | None:
    """Returns the seconds that the last attempt of an ended task took; None if it has not ended, or never started."""
    start, end = task["started_at"], task["completed_at"]
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() if start and end else None


def moment(text: str | None) -> str:
    """Returns an ISO 8601 time as `2026-01-31 12:00:05 UTC`; empty for None. A script shows it in the reader's zone."""
    if text is None:
        return ""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def breakable(text: str | None) -> Markup:
    """Returns a name such as WORKER_LOST, which a line may break behind each `_`."""
    return escape(text or "").replace("_", Markup("_<wbr>"))
