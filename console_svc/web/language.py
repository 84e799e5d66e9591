"""English and 中文: which of them a page is in, and its texts.

Templates and code have the English texts, which are messages of gettext; `console_svc/locale` has their Chinese.
`verification/generated/texts.py` compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from markupsafe import Markup
from starlette.requests import Request

from contentgen import RequestError

ENGLISH, ZH = "en", "zh-CN"
COOKIE = "language"
CATALOGUE = Path(__file__).parents[1] / "locale" / "zh_CN" / "LC_MESSAGES" / "messages.mo"
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


class Plural(str):
    """A text that counts `{n}`; `one` is what it is in English for 1."""

    __slots__ = ("one",)
    one: str


def plural(one: str, many: str) -> Plural:
    """Marks a text of a page that stands in code and counts `{n}`; the page chooses by `n`, and translates it."""
    text = Plural(many)
    text.one = one
    return text


class Filled(str):
    """A text of a page, with `values` for each `{name}`."""

    __slots__ = ("values",)
    values: Mapping[str, object]


def filled(english: str, **values: object) -> Filled:
    """A text of a page that knows what is filled in; the page translates it."""
    text = Filled(english)
    text.values = values
    return text


class Refused(str):
    """What the schedulers say about a call that failed, in English; `reason` has a text that says it in short."""

    __slots__ = ("reason",)
    reason: str


def refused(error: RequestError, message: str | None = None) -> Refused:
    """Returns what a page shows of an error; `message` replaces its own."""
    text = Refused(error.message if message is None else message)
    text.reason = error.reason or (error.code or "")
    return text


@cache
def _translations(language: str) -> NullTranslations:
    if language != ZH:
        return NullTranslations()
    with CATALOGUE.open("rb") as file:
        return GNUTranslations(file)


class Texts:
    """Translates the texts of one page."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._translations = _translations(language)

    def __call__(self, text: str, **values: object) -> str:
        """The text in the page's language, with `{name}` filled in."""
        if isinstance(text, Refused):
            return self._refused(text)
        if isinstance(text, Filled):
            values = {**text.values, **values}
        translation = self._found(text, values)
        if any(isinstance(value, Refused) for value in values.values()):
            translation = Markup("{}").format(translation)
            values = {
                name: self._refused(value) if isinstance(value, Refused) else value for name, value in values.items()
            }
        return translation.format(**values) if values else translation

    def _found(self, text: str, values: Mapping[str, object]) -> str:
        if isinstance(text, Plural):
            return self._translations.ngettext(text.one, text, 1 if str(values.get("n")) == "1" else 2)
        return self._translations.gettext(text) if text else text  # gettext has its header there

    def _refused(self, text: Refused) -> str:
        """The reason in the page's language, and in small what the schedulers said."""
        reason = self._translations.gettext(text.reason)
        if reason == text.reason:
            return text
        return Markup('{} <small lang="en" class="said">{}</small>').format(reason, text)

    def counted(self, one: str, many: str, **values: object) -> str:
        """Returns the text for `n` things in the page's language."""
        return self(plural(one, many), **values)
