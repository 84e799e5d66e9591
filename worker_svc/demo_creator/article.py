"""Makes an article from a topic by filling in sentences: readable, and the same each time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker_svc.demo_creator import chinese, english
from worker_svc.demo_creator.brief import Block, Brief
from worker_svc.demo_creator.picture import png
from worker_svc.demo_creator.render import html, markdown

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True)
class _Pictures:
    cover: str
    detail: str

    @classmethod
    def of(cls, brief: Brief) -> _Pictures:
        name = brief.digest[:12]
        return cls(f"{name}-cover.png", f"{name}-detail.png")


def pictures(brief: Brief) -> dict[str, bytes]:
    """Returns the pictures of the article, by the names of their files."""
    names = _Pictures.of(brief)
    return {name: png(bytes.fromhex(brief.digest), n) for n, name in enumerate((names.cover, names.detail))}


def document(brief: Brief) -> dict[str, object]:
    """Returns the result document, in in Chinese if topic or requirements are, else in English."""
    language = chinese if _HAN.search(brief.topic + brief.requirements) else english
    pictures = _Pictures.of(brief)
    short = brief.shortened()
    blocks = _illustrated(language.article(short), pictures, short.topic)
    return {
        "content": markdown(blocks),
        "htmlContent": html(blocks),
        "images": [pictures.cover, pictures.detail],
        "qualityScore": 7 + brief.variant % 30 / 10,
    }


def _illustrated(blocks: Sequence[Block], pictures: _Pictures, alt: str) -> list[Block]:
    """Puts the cover below the title, and the other picture before the last section."""
    last = max(index for index, block in enumerate(blocks) if block.kind == "h2")
    cover, detail = Block("img", [pictures.cover, alt]), Block("img", [pictures.detail, alt])
    return [blocks[0], cover, *blocks[1:last], detail, *blocks[last:]]
