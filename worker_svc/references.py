"""What an article refers to as a picture: in `images`, in Markdown and in HTML. Finds it and renames it.

Pure, and linear in the size of the text, whatever the text is: the patterns stop at the next place where they could
begin.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import unquote

from worker_svc.outcome import Article

SCHEME = "asset:"  # before an asset's name, in `images` and texts
_MAX = 2_000  # characters of a reference; longer ones are no file names or addresses

_ALT = r"!\[(?:[^\[\]\\]|\\.){0,2000}+\]"
_TARGET = rf"<(?P<angled>[^<>\n]{{1,{_MAX}}})>|(?P<plain>(?:[^\s()<>\\]|\\.|\([^\s()<>]{{0,{_MAX}}}\)){{1,{_MAX}}}+)"
_INLINE = re.compile(rf"{_ALT}\(\s{{0,8}}(?:{_TARGET})(?=[\s)])", re.DOTALL)
_LABELS = re.compile(r"!\[((?:[^\[\]\\]|\\.){0,2000}+)\](?:\[([^\[\]\n]{0,999})\]|(?![\[(]))", re.DOTALL)
_DEFINITION = re.compile(
    rf"^ {{0,3}}\[(?P<label>[^\[\]\n]{{1,999}})\]:[ \t]{{0,8}}(?:{_TARGET})(?=\s|\Z)", re.MULTILINE
)
_TAG = re.compile(r"<img\s([^<>]{1,4000})>", re.IGNORECASE)
_SRC = re.compile(
    r"""(?:^|\s)src\s{0,8}=\s{0,8}(?:"([^"]{1,2000})"|'([^']{1,2000})'|([^\s"'>]{1,2000}))""", re.IGNORECASE
)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_ADDRESS = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class Reference(NamedTuple):
    """A picture that an article refers to, as it stands in the text."""

    text: str

    @property
    def address(self) -> str | None:
        """The URL that the text means. None if it is no URL."""
        meant = html.unescape(self.text)
        if not _ADDRESS.match(meant):
            return None
        return "https:" + meant if meant.startswith("//") else meant

    @property
    def paths(self) -> list[str]:
        """The paths that it may mean, the likeliest first: its text, and what Markdown, HTML and URLs make of it."""
        plain = html.unescape(_ESCAPED.sub(r"\1", self.text))
        decoded = [unquote(plain), unquote(plain).partition("#")[0].partition("?")[0]]
        return [path.removeprefix("file://") for path in dict.fromkeys([self.text, plain, *decoded]) if path]


def references(article: Article) -> list[Reference]:
    """Returns files and addresses, each once, in the order of images, body and HTML."""
    texts = [*article.images, *(article.content[span] for span in _spans(article.content))]
    texts += [article.html[span] for span in _html_spans(article.html)]
    return [Reference(text) for text in dict.fromkeys(texts) if not _is_other(text)]


def renamed(article: Article, names: Mapping[str, str]) -> Article:
    """Returns the article with other references, by their text."""
    return replace(
        article,
        content=_replaced(article.content, _spans(article.content), names),
        html=_replaced(article.html, _html_spans(article.html), names),
        images=tuple(names.get(image, image) for image in article.images),
    )


def _is_other(text: str) -> bool:
    """Returns whether it is neither a file nor an address, such as `data:…`, `asset:…` and a part of the page."""
    return len(text) > _MAX or text.startswith("#") or bool(_OTHER_SCHEME.match(text) and not _ADDRESS.match(text))


def _spans(markdown: str) -> list[slice]:
    """Returns where Markdown refers to pictures, HTML in it included, in order."""
    if "![" not in markdown and "<" not in markdown:
        return []
    spans = [_target(match) for match in _INLINE.finditer(markdown)]
    labels = {" ".join((label or alt).lower().split()) for alt, label in _LABELS.findall(markdown)}
    if labels:
        definitions = (
            match for match in _DEFINITION.finditer(markdown) if " ".join(match["label"].lower().split()) in labels
        )
        spans += map(_target, definitions)
    return sorted([*spans, *_html_spans(markdown)], key=lambda span: span.start)


def _target(match: re.Match[str]) -> slice:
    return slice(*match.span("angled" if match["angled"] else "plain"))


def _html_spans(text: str) -> list[slice]:
    spans = []
    for tag in _TAG.finditer(text):
        if source := _SRC.search(tag[1]):
            begin, end = source.span(source.lastindex or 0)
            spans.append(slice(tag.start(1) + begin, tag.start(1) + end))
    return spans


def _replaced(text: str, spans: list[slice], names: Mapping[str, str]) -> str:
    parts, position = [], 0
    for span in spans:
        if span.start >= position and (name := names.get(text[span])) is not None:
            parts += [text[position : span.start], name]
            position = span.stop
    return "".join([*parts, text[position:]]) if parts else text
