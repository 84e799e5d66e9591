"""An article as pages show it: its texts, what changed in them, its brief."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from console_svc.articles.pictures import Picture, Pictures
from console_svc.articles.texts import as_written
from console_svc.site import Site
from console_svc.web.language import text
from console_svc.web.sessions import Session
from contentgen import Content, Task

TEXTS = ("title", "summary", "category", "cover_image", "body", "html_body")
LABELS = {
    "title": text("Title"),
    "summary": text("Summary"),
    "category": text("Category"),
    "cover_image": text("Cover picture"),
    "body": text("Text"),
    "html_body": text("HTML"),
}
_SENT_BACK = re.compile(r"\s*→ (task-[0-9a-f]+)\Z")


@dataclass(frozen=True, slots=True)
class Article:
    """`html` is safe to be put into a page. Not `rendered`: it is the text as it was written, which takes too much."""

    html: str
    rendered: bool
    pictures: Sequence[Picture]


async def article_of(site: Site, content: Content) -> Article:
    pictures = Pictures.of(content["assets"], site.settings.console_prefix)
    html = await site.articles.markdown(content["body"], pictures)
    images = pictures.all(content["images"])
    return Article(as_written(content["body"]) if html is None else html, html is not None, images)


async def brief_of(session: Session, content: Content) -> Task | None:
    """Returns the task that made a content; None if it was cleaned up, or the user may not see it."""
    return await session.client.get_task_status(content["task_id"]) if session.may("TaskService/GetTask") else None


def sent_back(note: str, task_id: str) -> str:
    """Returns the comment of a review that a task answers by writing the content again."""
    return f"{note} → {task_id}"


def answering_task(comment: str | None) -> str:
    """Returns the task that such a comment names; empty if it names none."""
    match = _SENT_BACK.search(comment or "")
    return match[1] if match else ""


async def changes(site: Site, old: Mapping[str, object], new: Mapping[str, object]) -> list[tuple[str, str]]:
    """Returns the texts that differ, each with its safe HTML."""
    texts = [(name, str(old[name] or ""), str(new[name] or "")) for name in TEXTS]
    texts = [(name, old_text, new_text) for name, old_text, new_text in texts if old_text != new_text]
    differences = await asyncio.gather(
        *(site.articles.difference(old_text, new_text) for _, old_text, new_text in texts)
    )
    return [
        (name, as_written(new_text) if html is None else html)
        for (name, _, new_text), html in zip(texts, differences, strict=True)
    ]
