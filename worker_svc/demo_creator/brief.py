"""The brief of an article, and the blocks that the article consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple


class Brief(NamedTuple):
    """What the article should be. Texts are on one line and of limited length; empty if not given."""

    topic: str
    requirements: str
    tone: str
    keywords: Sequence[str]
    variant: int
    """A number drawn from the topic: it picks between wordings."""

    def pick(self, *wordings: str) -> str:
        """Returns one of `wordings`, always the same for a topic."""
        return wordings[self.variant % len(wordings)]


class Block(NamedTuple):
    """A piece of an article, its texts plain: neither Markdown nor HTML."""

    kind: Literal["h1", "h2", "p", "ul", "img", "hr"]
    texts: Sequence[str]
    """One text; the items of a `ul`; name and description of an `img`."""


def title(text: str) -> Block:
    return Block("h1", [text])


def section(heading: str, *paragraphs: str) -> list[Block]:
    """A heading and its paragraphs; empty ones are left out."""
    return [Block("h2", [heading]), *(Block("p", [text]) for text in paragraphs if text)]
