"""The summary of an article: the beginning of its text, without Markdown and HTML."""

from __future__ import annotations

import html
import re

SUMMARY_LENGTH = 200
_EXAMINED = 1_000
"""Characters of the body that a summary may come from, marks included."""

_MARKED = re.compile(r"[#*_`~\[\]<>&|\\\n\r\t!]")
_MAY_BEGIN = frozenset("-+ =0123456789")
"""Characters with which a list, a rule or an indented text may begin."""
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])?")
_LINK = re.compile(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:.*$", re.MULTILINE)
_ADDRESS = re.compile(r"<((?:https?:|mailto:)[^<>\s]+)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:(?:[-*_=][ \t]*){3,}|[|:\- \t]*-[|:\- \t]*)$", re.MULTILINE)
_ITEM = r"(?:#{1,6}(?=\s)|[-+*](?=\s)|\d{1,9}[.)](?=\s))"
_LINE_START = re.compile(rf"^[ \t]*(?:>[ \t]?)*{_ITEM}?[ \t]*(?:\[[ xX]\][ \t])?", re.MULTILINE)
_LINE_END = re.compile(r"[ \t]+#+[ \t]*$", re.MULTILINE)
_STARS = re.compile(r"(?<!\\)(\*{1,3})(?=\S)(.{1,200}?)(?<=\S)(?<!\\)\1")
_STRUCK = re.compile(r"~~(.{1,200}?)~~")
_CODE = re.compile(r"(`+)(.{1,200}?)\1")
_UNDERSCORES = re.compile(r"(?<![\w\\])(_{1,3})(?=\S)(.{1,200}?)(?<=\S)\1(?!\w)")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_MARKS = (
    ("<!--", _COMMENT, ""),
    ("]:", _DEFINITION, ""),
    ("![", _IMAGE, ""),
    ("](", _LINK, r"\1"),
    ("][", _LINK, r"\1"),
    ("<", _ADDRESS, r"\1"),
    ("<", _TAG, ""),
    ("```", _FENCE, ""),
    ("~~~", _FENCE, ""),
    ("", _RULE, ""),
    ("", _LINE_START, ""),
    (" #", _LINE_END, ""),
    ("*", _STARS, r"\2"),
    ("*", _STARS, r"\2"),
    ("~~", _STRUCK, r"\1"),
    ("`", _CODE, r"\2"),
    ("_", _UNDERSCORES, r"\2"),
    ("\\", _ESCAPED, r"\1"),
)
"""In order: a text that a mark contains, the mark, and what stays of it."""


def summary_of(body: str) -> str:
    """Returns the first characters of the text that a reader of the rendered article sees, on one line."""
    begin = body[:SUMMARY_LENGTH]
    if begin[:1] not in _MAY_BEGIN and not _MARKED.search(begin):
        return begin
    return _text(body[:_EXAMINED])[:SUMMARY_LENGTH].rstrip()


def _text(markdown: str) -> str:
    for hint, pattern, kept in _MARKS:
        if hint in markdown:
            markdown = pattern.sub(kept, markdown)
    return " ".join(html.unescape(markdown).replace(" | ", " ").replace("\0", "").split())
