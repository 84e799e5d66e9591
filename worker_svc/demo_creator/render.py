"""Renders blocks as Markdown and as HTML. Special characters are escaped, so that a topic is always plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from worker_svc.demo_creator.brief import Block

_SPECIAL = re.compile(r"([\\`*_\[\]<>])")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def markdown(blocks: Sequence[Block]) -> str:
    """Returns the article as Markdown, ending in a newline."""
    return "\n\n".join(_MARKDOWN[block.kind]([_in_markdown(text) for text in block.texts]) for block in blocks) + "\n"


def html(blocks: Sequence[Block]) -> str:
    """Returns the article as HTML, without a page around it."""
    return "\n".join(_HTML[block.kind]([text.translate(_ESCAPES) for text in block.texts]) for block in blocks) + "\n"


def _in_markdown(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


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
