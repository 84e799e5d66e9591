"""English and 中文: which of them a page is in, and its texts.

Templates and code have the English texts, which are messages of gettext; `console_svc/locale` has their Chinese (a
PO file); `verification/generated/texts.py` compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from markupsafe import Markup
from starlette.requests import Request

from contentgen import RequestError

ENGLISH, ZH = "en", "zh-CN"
COOKIE = "language"
CATALOGUE = Path(__file__).parents[1] / "locale" / "zh_CN" / "LC_MESSAGES" / "messages.po"
_QUOTED = r'((?:".*"\n)+)'
_MESSAGE = re.compile(rf"^msgid {_QUOTED}(?:msgid_plural {_QUOTED})?msgstr(?:\[0\])? {_QUOTED}", re.MULTILINE)
NAMES: Mapping[str, str] = {ENGLISH: "English", ZH: "中文"}


def language_of(request: Request) -> str:
    """Returns the language of the cookie, else the first of the browser's that we have, else English."""
    language = request.cookies.get(COOKIE, "")
    if language in NAMES:
        return language
    for part in request.headers.get("accept-language", "").split(","):
        tag = part.partition(";")[0].strip().lower()
        if tag.startswith("zh"):
            return ZH
        if tag.startswith("en"):
            return ENGLISH
    return ENGLISH


def text(english: str) -> str:
    """Marks a text of a page that stands in code; the page translates it."""
    return english


class PageText(str):
    """A text of a page that knows more than its words; the page translates it."""

    __slots__ = ("one", "reason", "values")
    one: str
    """What it is in English for 1, if it counts `{n}`."""
    values: Mapping[str, object]
    """What is filled in for each `{name}`."""
    reason: str
    """Of what the schedulers say about a call that failed, in English: has a text that says it in short."""

    def __new__(
        cls, words: str = "", *, one: str = "", values: Mapping[str, object] | None = None, reason: str = ""
    ) -> PageText:
        text = super().__new__(cls, words)
        text.one, text.values, text.reason = one, values or {}, reason
        return text


def plural(one: str, many: str) -> PageText:
    """Marks a text of a page that stands in code and counts `{n}`; the page chooses by `n`."""
    return PageText(many, one=one)


def filled(text: str, /, **values: object) -> PageText:
    """Returns a text of a page with what is filled in for each `{name}`."""
    known = text if isinstance(text, PageText) else PageText()
    return PageText(text, one=known.one, values={**known.values, **values}, reason=known.reason)


def refused(error: RequestError, message: str | None = None) -> PageText:
    """Returns what a page shows of an error; `message` replaces its own."""
    return PageText(error.message if message is None else message, reason=error.reason or error.code or "")


@cache
def _translations(language: str) -> Mapping[str, str]:
    """Returns the translation of each text: by its form for 1 if it counts, as Chinese has but one form."""
    if language != ZH:
        return {}
    messages = _MESSAGE.findall(CATALOGUE.read_text(encoding="utf-8"))
    pairs = ((_unquoted(text), _unquoted(translation)) for text, _many, translation in messages)
    return {text: translation for text, translation in pairs if text and translation}


def _unquoted(lines: str) -> str:
    """Returns a text of the catalogue, which quotes each of its lines."""
    return "".join(map(json.loads, lines.splitlines()))


class Texts:
    def __init__(self, language: str) -> None:
        self.language = language
        self._translations = _translations(language)

    def __call__(self, text: str, **values: object) -> str:
        """Returns the text in the page's language, with `{name}` filled in."""
        known = text if isinstance(text, PageText) else PageText()
        if known.reason:
            return self._refused(known)
        values = {**known.values, **values}
        english = known.one if known.one and str(values.get("n")) == "1" else text
        translation = self._translations.get(known.one or text, english)
        values |= (nested := {name: self(value) for name, value in values.items() if isinstance(value, PageText)})
        if any(isinstance(value, Markup) for value in nested.values()):
            translation = Markup("{}").format(translation)
        return translation.format(**values) if values else translation

    def _refused(self, text: PageText) -> str:
        """Returns the reason in the page's language; what the schedulers said is shown where one points at it."""
        reason = self._translations.get(text.reason)
        if reason is None:
            return text
        return Markup('<span title="{}">{}</span>').format(text, reason)

    def counted(self, one: str, many: str, **values: object) -> str:
        return self(plural(one, many), **values)
