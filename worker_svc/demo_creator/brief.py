"""The brief of an article, and the blocks that the article consists of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

_BY_COMMA = re.compile(r"[,;\n\u3001\uff0c\uff1b]")  # ASCII and full width
_MAX_KEYWORDS = 8


class Brief(NamedTuple):
    """What the article should be, as `create` has its options; empty means not given."""

    topic: str
    requirements: str = ""
    tone: str = ""
    keywords: str = ""

    def shortened(self) -> Brief:
        """Returns the brief with each text but the keywords on one line, and of sensible length."""
        topic, requirements, tone = shorten(self.topic, 80), shorten(self.requirements, 300), shorten(self.tone, 60)
        return self._replace(topic=topic, requirements=requirements, tone=tone)

    @property
    def words(self) -> Sequence[str]:
        return [shorten(word, 40) for word in _BY_COMMA.split(self.keywords) if word.strip()][:_MAX_KEYWORDS]

    @property
    def digest(self) -> str:
        """Hex digits that depend on the topic only."""
        return hashlib.sha256(self.topic.encode("utf-8", "replace")).hexdigest()

    @property
    def variant(self) -> int:
        return int(self.digest[:8], 16)

    def pick(self, *wordings: str) -> str:
        """Returns one of `wordings`, always the same for a topic."""
        return wordings[self.variant % len(wordings)]


def shorten(text: str, limit: int) -> str:
    """Returns `text` on one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


class Block(NamedTuple):
    """A piece of an article, its texts plain: neither Markdown nor HTML."""

    kind: Literal["h1", "h2", "p", "ul", "img", "hr"]
    texts: Sequence[str]  # one text; the items of a `ul`; name and description of an `img`


def article(brief: Brief, opening: str, sections: Sequence[Block], last_line: str) -> list[Block]:
    """Returns the article, title first; its last paragraph says what wrote it."""
    beginning = [Block("h1", [brief.topic]), Block("p", [opening])]
    return [*beginning, *sections, Block("hr", [""]), Block("p", [last_line])]


def terms(brief: Brief, heading: str, lead: str, remark: str) -> list[Block]:
    """Returns a section that lists the keywords, each with the same remark; empty if there are none."""
    if not brief.words:
        return []
    return [*section(heading, lead), Block("ul", [f"{word}{remark}" for word in brief.words])]


def section(heading: str, *paragraphs: str) -> list[Block]:
    """Returns a heading and its paragraphs; empty ones are left out."""
    return [Block("h2", [heading]), *(Block("p", [text]) for text in paragraphs if text)]
