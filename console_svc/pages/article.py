"""An article as pages show it."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from console_svc.articles.pictures import Picture, Pictures
from console_svc.articles.plain import as_written
from console_svc.site import Site
from console_svc.web.sessions import Session
from contentgen import Content, Task

_SENT_BACK = re.compile(r"\s*→ (task-[0-9a-f]+)\Z")


@dataclass(frozen=True, slots=True)
class Article:
    """`html` is safe to be put into a page. Not `rendered`: it is the text as it was written, which takes too much."""

    html: str
    rendered: bool
    pictures: Sequence[Picture]


async def article_of(site: Site, content: Content) -> Article:
    pictures = Pictures.of(content["assets"], site.settings.console_prefix)
    html = await site.workshop.markdown(content["body"], pictures)
    images = pictures.all(content["images"])
    return Article(as_written(content["body"]) if html is None else html, html is not None, images)


async def brief_of(session: Session, content: Content) -> Task | None:
    """The task that made it; None if it was cleaned up, or is not the user's to see."""
    return await session.client.get_task_status(content["task_id"]) if session.may("TaskService/GetTask") else None


def sent_back(note: str, task_id: str) -> str:
    """The comment of a review that a task answers, which writes the content anew."""
    return f"{note} → {task_id}"


def answering_task(comment: str | None) -> str:
    """The task of such a comment; empty: none."""
    found = _SENT_BACK.search(comment or "")
    return found[1] if found else ""


STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.7 system-ui,'Noto Sans CJK SC',sans-serif;margin:1rem;"
    "overflow-wrap:anywhere}pre{white-space:pre-wrap}table{border-collapse:collapse}td,th{border:1px solid gray;"
    "padding:.2rem .5rem}mark{background:none;color:inherit;border:1px dashed gray;padding:0 .3rem}"
)
_STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
FRAME_HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "no-referrer",
}
"""Of the frame that shows an article's own HTML: it loads nothing and runs nothing. Links open outside, in new tabs."""


def frame(html: str) -> str:
    """The document in the frame, of HTML that is safe already."""
    return f'<!doctype html><meta charset="utf-8"><title>-</title><style>{STYLE}</style><body dir="auto">{html}</body>'
