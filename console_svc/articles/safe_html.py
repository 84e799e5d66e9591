"""Articles as safe HTML, made in a sandbox: no scripts, no styles, no forms, and only pictures of ours load."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser

import nh3
from markdown_it import MarkdownIt

from console_svc.articles.texts import Picture, Pictures, difference, is_web, visible

_TEXT_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "cite", "code", "dd", "del", "dfn", "dl", "dt", "em", "figcaption", "figure",
    "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp",
    "small", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "var",
}  # fmt: skip
_SCHEMES = {"http", "https", "mailto"}
_OF_CELLS = {"colspan", "rowspan"}
_ATTRIBUTES = {"a": {"href"}, "img": {"src", "alt"}, "ol": {"start"}, "td": _OF_CELLS, "th": _OF_CELLS}
_DROPPED = {
    "applet", "embed", "frame", "frameset", "iframe", "math", "noembed", "noframes", "noscript", "object", "script",
    "style", "svg", "template", "textarea", "title", "xmp",
}  # fmt: skip
"""Tags that go with what is in them."""
_VOID = {"br", "hr", "img"}
MAX_DEPTH = 60
"""Tags within tags; deeper ones are left out, their text is not."""
MAX_NESTING = 30


def cleaned(html: str, find: Callable[[str], Picture]) -> str:
    """Returns the HTML with pictures of ours as pictures, and a link in the place of each other one.

    Headings begin below those of the page.
    """
    clean_html = nh3.clean(
        html,
        tags=_TEXT_TAGS | {"img"},
        clean_content_tags=_DROPPED,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES | {"asset"},
        link_rel=None,
    )
    rewriter = _Rewriter(find)
    rewriter.feed(clean_html)
    rewriter.close()
    addresses = rewriter.ours

    def attribute(tag: str, name: str, value: str) -> str | None:
        return None if (tag, name) == ("img", "src") and value not in addresses else value

    return nh3.clean(
        "".join(rewriter.written),
        tags=_TEXT_TAGS | {"img"},
        attributes={**_ATTRIBUTES, "a": {"href", "title"}, "img": {"src", "alt", "loading"}},
        attribute_filter=attribute,
        url_schemes=_SCHEMES,
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer nofollow",
    )


class _Rewriter(HTMLParser):
    """Writes clean HTML again; what it writes is cleaned once more."""

    def __init__(self, find: Callable[[str], Picture]) -> None:
        super().__init__(convert_charrefs=True)
        self._find = find
        self._depth = 0
        self.written: list[str] = []
        self.ours: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "img":
            self._write_picture(attributes)
            return
        if tag not in _VOID:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                return
        if tag == "a":
            address = attributes.pop("href", "")
            if is_web(address) or address.startswith("mailto:"):  # a relative one would be one of ours
                attributes = {"href": address, "title": address}  # where it leads is to be seen before
        attribute_text = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
        self.written.append(f"<{_lowered(tag)}{attribute_text}>")

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self._depth -= 1
            if self._depth >= MAX_DEPTH:
                return
            self.written.append(f"</{_lowered(tag)}>")

    def handle_data(self, data: str) -> None:
        self.written.append(escape(data))

    def _write_picture(self, attributes: dict[str, str]) -> None:
        picture, alt = self._find(attributes.get("src", "")), attributes.get("alt", "")
        if picture.shown:
            self.ours.add(picture.address)
            self.written.append(f'<img src="{escape(picture.address)}" alt="{escape(alt)}" loading="lazy">')
        elif picture.address:
            link = f'<a href="{escape(picture.address)}" title="{escape(picture.name)}">{escape(picture.name)}</a>'
            self.written.append(f"<mark>{escape(alt)} {link}</mark>")
        else:
            self.written.append(f"<mark>{escape(alt)} {escape(picture.name)}</mark>")


def _lowered(tag: str) -> str:
    """Returns the tag of a heading two levels lower: the page's own headings are above it."""
    return f"h{min(int(tag[1]) + 2, 6)}" if tag in {"h1", "h2", "h3", "h4"} else tag


class _Parser(MarkdownIt):
    """Parses Markdown without judging its links: that is done with all HTML."""

    def validateLink(self, url: str) -> bool:  # noqa: ARG002, N802 (as the library has it)
        return True


_PARSER = _Parser("commonmark", {"html": False, "maxNesting": MAX_NESTING}).enable(["table", "strikethrough"])


def rendered(text: str, find: Callable[[str], Picture]) -> str:
    """Returns the HTML of a text. Takes up to some seconds for a hostile one: call it in a thread."""
    return cleaned(_PARSER.render(visible(text)), find)


def work(order: bytes) -> bytes:
    """Does the work of an `order`, the JSON that `sandbox.py` writes, and returns HTML."""
    parts = json.loads(order)
    text = parts["text"]
    if parts["work"] == "difference":
        return difference(parts["old"], text).encode()
    find = Pictures({name: Picture(*picture) for name, picture in parts["assets"].items()}).find
    html = rendered(text, find) if parts["work"] == "markdown" else cleaned(visible(text), find)
    return html.encode()
