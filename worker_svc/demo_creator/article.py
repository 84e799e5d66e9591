"""Makes an article from a topic by filling in sentences: readable, and the same each time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker_svc.demo_creator import chinese, english
from worker_svc.demo_creator.brief import Block, Brief
from worker_svc.demo_creator.render import html, markdown

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_BY_COMMA = re.compile(r"[,;\n\u3001\uff0c\uff1b]")  # ASCII and full width
_MAX_KEYWORDS = 8


@dataclass(frozen=True)
class _Pictures:
    cover: str
    detail: str


def document(topic: str, requirements: str, tone: str, keywords: str) -> dict[str, object]:
    """Returns the result document, in Chinese if topic or requirements are, else in English."""
    digest = hashlib.sha256(topic.encode("utf-8", "replace")).hexdigest()
    language = chinese if _HAN.search(topic + requirements) else english
    brief = Brief(
        topic=shorten(topic, 80),
        requirements=shorten(requirements, 300),
        tone=shorten(tone, 60),
        keywords=[shorten(word, 40) for word in _BY_COMMA.split(keywords) if word.strip()][:_MAX_KEYWORDS],
        variant=int(digest[:8], 16),
    )
    pictures = _Pictures(f"{digest[:12]}-cover.png", f"{digest[:12]}-detail.png")
    blocks = _illustrated(language.article(brief), pictures, brief.topic)
    return {
        "content": markdown(blocks),
        "htmlContent": html(blocks),
        "images": [pictures.cover, pictures.detail],
        "qualityScore": 7 + brief.variant % 30 / 10,
    }


def shorten(text: str, limit: int) -> str:
    """Returns `text` on one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _illustrated(blocks: Sequence[Block], pictures: _Pictures, alt: str) -> list[Block]:
    """Puts the cover below the title, and the other picture before the last section."""
    last = max(at for at, block in enumerate(blocks) if block.kind == "h2")
    cover, detail = Block("img", [pictures.cover, alt]), Block("img", [pictures.detail, alt])
    return [blocks[0], cover, *blocks[1:last], detail, *blocks[last:]]
