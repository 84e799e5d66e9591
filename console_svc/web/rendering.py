"""Templates, and what all of them know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.requests import Request

from console_svc.articles.texts import visible
from console_svc.web.language import NAMES, Texts, language_of
from console_svc.web.security import CSRF_FIELD, page_before
from console_svc.web.values import MAX_DIGITS
from contentgen.doctor.readable import UNITS
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
        self._environment.filters.update(length_of_time=length_of_time, moment=moment, visible=visible)
        self._environment.filters.update(account=account, typed_account=typed_account)
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


def length_of_time(seconds: float | None) -> str:
    """Returns a length such as `42 s`, `3 min 5 s`, `2 h 10 min` or `4 d 2 h`; empty for None."""
    if seconds is None:
        return ""
    whole_seconds = int(seconds)
    for unit, name, lesser, lesser_name in UNITS:
        if whole_seconds >= unit:
            return f"{whole_seconds // unit} {name} {whole_seconds % unit // lesser} {lesser_name}"
    return f"{whole_seconds} s"


def moment(text: str | None) -> str:
    """Returns an ISO 8601 time as `2026-01-31 12:00:05 UTC`; empty for None. A script shows it in the reader's zone."""
    if text is None:
        return ""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
