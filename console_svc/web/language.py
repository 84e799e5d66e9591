"""English and 中文: which of them a page is in, and its texts.

The templates have the English texts; `CHINESE` translates them, and a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup
from starlette.requests import Request

from console_svc.chinese import CHINESE
from contentgen import RequestError

ENGLISH, ZH = "en", "zh-CN"
COOKIE = "language"
NAMES: Mapping[str, str] = {ENGLISH: "English", ZH: "中文"}


def language_of(request: Request) -> str:
    """That of the cookie, else the first of the browser's that we have, else English."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen in NAMES:
        return chosen
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
    """A text that counts `{n}`; `one` is what it is in English for 1. Its Chinese is found by the plural."""

    __slots__ = ("one",)
    one: str


def plural(one: str, many: str) -> Plural:
    """Marks a text of a page that stands in code and counts `{n}`; the page chooses by `n`, and translates it."""
    found = Plural(many)
    found.one = one
    return found


class Refused(str):
    """What the schedulers say about a call that failed, in English; `reason` has a text that says it in short."""

    __slots__ = ("reason",)
    reason: str


def refused(error: RequestError, message: str | None = None) -> Refused:
    """What a page shows of an error; `message`: instead of its own."""
    found = Refused(error.message if message is None else message)
    found.reason = error.reason or (error.code or "")
    return found


class Texts:
    """Translates the texts of one page."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._known: Mapping[str, str] = CHINESE if language == ZH else {}

    def __call__(self, text: str, **values: object) -> str:
        """The text in the page's language, with `{name}` filled in."""
        if isinstance(text, Refused):
            return self._refused(text)
        found = self._known.get(text, text.one if isinstance(text, Plural) and str(values.get("n")) == "1" else text)
        if any(isinstance(value, Refused) for value in values.values()):
            found = Markup("{}").format(found)
            values = {name: self._refused(it) if isinstance(it, Refused) else it for name, it in values.items()}
        return found.format(**values) if values else found

    def _refused(self, text: Refused) -> str:
        """The reason in the page's language, and in small what the schedulers said."""
        reason = self._known.get(text.reason)
        return Markup('{} <small lang="en" class="said">{}</small>').format(reason, text) if reason else text

    def counted(self, one: str, many: str, **values: object) -> str:
        """The text for `n` things in the page's language."""
        return self(plural(one, many), **values)
