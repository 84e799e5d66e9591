"""Makes an article from a topic by filling in sentences: readable, and the same each time; with pictures.

Special characters are escaped in Markdown and HTML, so that a topic is always plain text.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

from worker_svc.demo_creator.brief import Block, Brief
from worker_svc.demo_creator.wording import chinese, english

# A small picture: bands of colours that depend on a brief, as a PNG.

WIDTH, HEIGHT = 160, 90


def png(digest: bytes, number: int) -> bytes:
    """Returns picture `number` of a brief with this digest, the same each time."""
    seed = zlib.crc32(digest, number)
    low, high = _colour(seed), _colour(seed >> 8)
    rows = (_row(low, high, y) for y in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)  # 8 bits each of red, green and blue
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(b"".join(rows))),
            _chunk(b"IEND", b""),
        ]
    )


def _colour(seed: int) -> tuple[int, int, int]:
    return (seed & 0xFF, (seed >> 8) & 0xFF, (seed >> 16) & 0xFF)


def _row(low: tuple[int, int, int], high: tuple[int, int, int], y: int) -> bytes:
    """Returns one line of the picture, without a filter."""
    part = y / (HEIGHT - 1)
    return b"\0" + bytes(round(a + (b - a) * part) for a, b in zip(low, high, strict=True)) * WIDTH


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# Blocks as Markdown and as HTML.

_SPECIAL = re.compile(r"([\\`*_\[\]<>])")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def markdown(blocks: Sequence[Block]) -> str:
    """Returns the article as Markdown, ending in a newline."""
    escaped = ((block.kind, [_SPECIAL.sub(r"\\\1", text) for text in block.texts]) for block in blocks)
    return "\n\n".join(_MARKDOWN[kind](texts) for kind, texts in escaped) + "\n"


def html(blocks: Sequence[Block]) -> str:
    """Returns the article as HTML, without a page around it."""
    return "\n".join(_HTML[block.kind]([text.translate(_ESCAPES) for text in block.texts]) for block in blocks) + "\n"


_MARKDOWN: Mapping[str, Callable[[Sequence[str]], str]] = {
    "h1": lambda texts: f"# {texts[0]}",
    "h2": lambda texts: f"## {texts[0]}",
    "p": lambda texts: texts[0],
    "ul": lambda texts: "\n".join(f"- {text}" for text in texts),
    "img": lambda texts: f"![{texts[1]}]({texts[0]})",
    "hr": lambda _: "---",
}
_HTML: Mapping[str, Callable[[Sequence[str]], str]] = {
    "h1": lambda texts: f"<h1>{texts[0]}</h1>",
    "h2": lambda texts: f"<h2>{texts[0]}</h2>",
    "p": lambda texts: f"<p>{texts[0]}</p>",
    "ul": lambda texts: "<ul>" + "".join(f"<li>{text}</li>" for text in texts) + "</ul>",
    "img": lambda texts: f'<p><img src="{texts[0]}" alt="{texts[1]}"></p>',
    "hr": lambda _: "<hr>",
}

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


def _names(brief: Brief) -> tuple[str, str]:
    """Returns the files of cover and detail."""
    return f"{brief.digest[:12]}-cover.png", f"{brief.digest[:12]}-detail.png"


def pictures(brief: Brief) -> dict[str, bytes]:
    return {name: png(bytes.fromhex(brief.digest), number) for number, name in enumerate(_names(brief))}


def document(brief: Brief) -> dict[str, object]:
    """Returns the result document, in Chinese if topic or requirements are, else in English."""
    language = chinese if _HAN.search(brief.topic + brief.requirements) else english
    short = brief.shortened()
    blocks = language(short)
    cover, detail = (Block("img", [name, short.topic]) for name in _names(brief))
    last = max(index for index, block in enumerate(blocks) if block.kind == "h2")
    blocks = [blocks[0], cover, *blocks[1:last], detail, *blocks[last:]]  # below the title, before the last section
    return {
        "content": markdown(blocks),
        "htmlContent": html(blocks),
        "images": [*_names(brief)],
        "qualityScore": 7 + brief.variant % 30 / 10,
    }
