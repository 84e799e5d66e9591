"""Texts that turn nothing around them, what two of them differ in, for people, and the sources of pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from html import escape
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:  # the sandbox needs no client
    from contentgen import Asset

_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of what follows: `gnp.exe` could read as `exe.png`."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
MAX_SHOWN = 100_000
"""Characters that a page shows of a text as it was written: browsers take minutes for one of millions."""
CONTEXT = 2
"""Lines that are shown before and after a change."""
_PARTS = re.compile(r"[a-zA-Z0-9]+|\s+|.", re.DOTALL)
"""A word of Latin letters, or one character of anything else: Chinese has no spaces."""


def as_written(text: str) -> str:
    """Returns the beginning of a text as safe HTML."""
    return f"<pre>{escape(visible(text[:MAX_SHOWN]))}</pre>"


def visible(text: str) -> str:
    """Returns the text with its control characters shown by their numbers, such as `⟦U+202E⟧`."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _TURNS.sub(lambda match: f"⟦U+{ord(match[0]):04X}⟧", text))


def difference(old: str, new: str) -> str:
    """Returns safe HTML; empty if the texts are the same. Takes up to some seconds for a hostile one."""
    old_lines, new_lines = _lines(old), _lines(new)
    if old_lines == new_lines:
        return ""
    return "".join(f"<p>{part}</p>" if part else "<hr>" for part in _groups(old_lines, new_lines))


def _lines(text: str) -> list[str]:
    return visible(text).splitlines()


def _groups(old: list[str], new: list[str]) -> Iterator[str]:
    """Yields each line with its changes marked, and an empty text between changes that are far from each other."""
    groups = SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT)
    for number, group in enumerate(groups):
        if number:
            yield ""
        for kind, old_start, old_end, new_start, new_end in group:
            if kind == "equal":
                yield from (escape(line) or "&nbsp;" for line in old[old_start:old_end])
                continue
            pairs = min(old_end - old_start, new_end - new_start)
            yield from map(_line, old[old_start : old_start + pairs], new[new_start : new_start + pairs])
            yield from (f"<del>{escape(line) or '¶'}</del>" for line in old[old_start + pairs : old_end])
            yield from (f"<ins>{escape(line) or '¶'}</ins>" for line in new[new_start + pairs : new_end])


def _line(old: str, new: str) -> str:
    """Returns the changes of a line that became another one."""
    old_parts, new_parts = _PARTS.findall(old), _PARTS.findall(new)
    html = ""
    opcodes = SequenceMatcher(None, old_parts, new_parts, autojunk=False).get_opcodes()
    for kind, old_start, old_end, new_start, new_end in opcodes:
        before, after = escape("".join(old_parts[old_start:old_end])), escape("".join(new_parts[new_start:new_end]))
        if kind == "equal":
            html += before
            continue
        html += f"<del>{before}</del>" if before else ""
        html += f"<ins>{after}</ins>" if after else ""
    return html or "&nbsp;"


SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif")
"""Media types that are shown: a browser only draws them. SVG is none of them, as it may hold scripts."""
_OURS = "asset:"


class Picture(NamedTuple):
    """`address` leads to it, in a new tab; empty: nowhere. `shown`: it is ours, and safe to be drawn in a page."""

    name: str
    address: str
    shown: bool


class Pictures:
    def __init__(self, assets: Mapping[str, Picture]) -> None:
        self.assets = assets

    @classmethod
    def of(cls, assets: Sequence[Asset], prefix: str) -> Pictures:
        pictures = {}
        for asset in assets:
            name = asset["name"]
            address = f"{prefix}/assets/{asset['sha256']}/{quote(name.rpartition('/')[2])}"
            pictures[name] = Picture(name, address, asset["media_type"] in SHOWN)
        return cls(pictures)

    def find(self, source: str) -> Picture:
        """Returns the picture of an address in an article, such as `asset:cover.png`."""
        if source.startswith(_OURS):
            name = source.removeprefix(_OURS)
            picture = self.assets.get(name) or self.assets.get(unquote(name))  # as Markdown writes it in HTML
            return picture or Picture(name, "", shown=False)
        return Picture(source, source if is_web(source) else "", shown=False)

    def all(self, images: Sequence[str]) -> Sequence[Picture]:
        """Returns the pictures of `images`, and then the assets that these leave out."""
        named_pictures = [self.find(image) for image in images]
        return [*named_pictures, *(asset for asset in self.assets.values() if asset not in named_pictures)]


def is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)
