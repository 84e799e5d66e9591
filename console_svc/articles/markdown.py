"""The Markdown of articles as safe HTML."""

from __future__ import annotations

from collections.abc import Callable

from markdown_it import MarkdownIt

from console_svc.articles.cleaning import cleaned
from console_svc.articles.pictures import Picture
from console_svc.articles.plain import visible

MAX_NESTING = 30


class _Parser(MarkdownIt):
    """Judges no links: that is done with all HTML."""

    def validateLink(self, url: str) -> bool:  # noqa: ARG002, N802 (as the library has it)
        return True


_PARSER = _Parser("commonmark", {"html": False, "maxNesting": MAX_NESTING}).enable(["table", "strikethrough"])


def rendered(text: str, find: Callable[[str], Picture]) -> str:
    """The HTML of a text. Takes up to some seconds for a hostile one: call it in a thread."""
    return cleaned(_PARSER.render(visible(text)), find)
