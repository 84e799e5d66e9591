"""One content: its article, who changed and decided what, where it was published; edit, reopen, delete.

Whoever saves sends the etag of what was read. If somebody else has saved since, nothing is overwritten: both are shown.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from console_svc.articles.texts import Picture, Pictures, as_written
from console_svc.site import BAD, CONFLICT, NOT_FOUND, SEE_OTHER, Site
from console_svc.web.forms import Form, lines, texts_of
from console_svc.web.language import refused, text
from console_svc.web.paging import MAX_FETCH, first_of
from console_svc.web.security import is_local
from console_svc.web.sessions import Session
from contentgen import (
    Content,
    ContentRevision,
    EtagMismatchException,
    InvalidStateException,
    PublishAttempt,
    PublishPoolEntry,
    RequestError,
    Task,
    Unauthenticated,
    Unavailable,
)

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


class ContentPage:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        path = "/contents/{content_id:int}"
        return (
            self._site.page(path, self.show),
            self._site.form(f"{path}/reopen", self.reopen),
            self._site.form(f"{path}/delete", self.delete),
        )

    async def show(self, request: Request, session: Session) -> Response:
        content_id = request.path_params["content_id"]
        content = await session.client.get_content(content_id)
        if content is None:
            return self._site.failure(request, session, "There is no such content.", NOT_FOUND)
        article, brief, revisions, attempts, entry = await asyncio.gather(
            article_of(self._site, content),
            brief_of(session, content),
            _revisions(session, content_id),
            _attempts(session, content_id),
            _entry(session, content),
        )
        old, new = _compared(request, revisions)
        values = {
            "content": content,
            "article": article,
            "brief": brief,
            "revisions": revisions,
            "old": old,
            "new": new,
            "changes": await changes(self._site, old, new) if old and new else [],
            "labels": LABELS,
            "attempts": attempts,
            "entry": entry,
            "answering_task": answering_task(content["review_comment"]),
            "reopenable": content["review_status"] != "pending_review"
            and content["publish_status"] not in {"publishing", "published"}
            and session.may("ContentService/ReopenContent"),
            "deletable": session.may("ContentService/DeleteContent"),
        }
        return self._site.render(request, "contents/content.html", values, session)

    async def reopen(self, request: Request, session: Session) -> Response:
        content_id = request.path_params["content_id"]
        try:
            await session.client.reopen_content(content_id)
        except InvalidStateException as error:
            session.tell("Not taken back: {message}", message=refused(error))
        return self._site.see(f"/contents/{content_id}")

    async def delete(self, request: Request, session: Session) -> Response:
        content_id = request.path_params["content_id"]
        try:
            force = (await request.form()).get("force") == "yes"
            deleted = await session.client.delete_content(content_id, force=force)
        except InvalidStateException as error:
            session.tell("Not deleted: {message}", message=refused(error))
            return self._site.see(f"/contents/{content_id}")
        if not deleted:
            return self._site.failure(request, session, "There is no such content.", NOT_FOUND)
        session.tell("Content {content_id} is deleted.", content_id=content_id)
        return self._site.see("/contents")


def _compared(
    request: Request, revisions: Sequence[ContentRevision]
) -> tuple[ContentRevision | None, ContentRevision | None]:
    """Returns the two revisions that the address names; else the newest one and the one before."""
    by_number = {str(revision["number"]): revision for revision in revisions}
    old = by_number.get(request.query_params.get("from", "")) or (revisions[-2] if len(revisions) > 1 else None)
    new = by_number.get(request.query_params.get("to", "")) or (revisions[-1] if len(revisions) > 1 else None)
    return old, new


async def _revisions(session: Session, content_id: int) -> list[ContentRevision]:
    if not session.may("ContentService/ListContentRevisions"):
        return []
    return [revision async for revision in session.client.iter_content_revisions(content_id)]


async def _attempts(session: Session, content_id: int) -> list[PublishAttempt]:
    if not session.may("ContentService/ListPublishAttempts"):
        return []
    return [attempt async for attempt in session.client.iter_publish_attempts(content_id)]


async def _entry(session: Session, content: Content) -> PublishPoolEntry | None:
    """Finds the entry of a content among the first ones of its state in the publish pool: no call reads one alone."""
    status = content["publish_status"]
    if status is None or not session.may("ContentService/ListPublishPool"):
        return None
    pool = session.client.iter_publish_pool(content["account_id"], status, page_size=MAX_FETCH)
    entries, _ = await first_of(pool, MAX_FETCH)
    return next((entry for entry in entries if entry["content_id"] == content["content_id"]), None)


LEASE = 300.0
"""Seconds for which it is held while it is edited; the page renews it."""

DELETED = text("It has been deleted.")


class Edit:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        path = "/contents/{content_id:int}"
        return (
            self._site.page(f"{path}/edit", self.show),
            self._site.form(f"{path}/edit", self.save),
            self._site.form(f"{path}/preview", self.preview),
        )

    async def show(self, request: Request, session: Session) -> Response:
        content_id = request.path_params["content_id"]
        content = await session.client.get_content(content_id)
        if content is None:
            return self._site.failure(request, session, "There is no such content.", NOT_FOUND)
        if content["review_status"] == "pending_review" and session.may("ContentService/ClaimReview"):
            content = await session.client.claim_review(content_id=content_id, lease=LEASE) or content
        return await self._form(request, session, content, _form_of({**_texts(content), "etag": content["etag"]}))

    async def save(self, request: Request, session: Session) -> Response:
        """Saves what differs from what was read. Whatever goes wrong, the form comes back with what was typed."""
        form = _form_of(texts_of(await request.form()))
        etag = form.typed["etag"]
        content_id = request.path_params["content_id"]
        content: Content | None = None
        try:
            content = await session.client.get_content(content_id)
            if content is None:
                form.problems[""] = DELETED
                return await self._form(request, session, None, form, status=NOT_FOUND)
            if content["etag"] == etag:
                new_texts = {
                    name: form.typed[name] for name, text in _texts(content).items() if form.typed[name] != text
                }
                if new_texts:
                    await session.client.update_content(content_id, **new_texts, etag=etag)
                    session.tell("Saved.")
                return RedirectResponse(self._back(request), SEE_OTHER)
        except EtagMismatchException:
            content = await session.client.get_content(content_id)
        except (Unauthenticated, Unavailable):
            raise
        except RequestError as error:
            form.refused(error)
            return await self._form(request, session, content, form, status=BAD)
        return await self._form(request, session, content, form, conflict=True, status=CONFLICT)

    async def preview(self, request: Request, session: Session) -> Response:
        """What the typed texts look like, and what differs from the stored ones, as a part of the page."""
        content = await session.client.get_content(request.path_params["content_id"])
        if content is None:
            return Response(status_code=NOT_FOUND)
        values = await self._previewed(content, _form_of(texts_of(await request.form())).typed)
        return self._site.render(request, "contents/edit_preview.html", values)

    async def _previewed(self, content: Content, typed: Mapping[str, str]) -> dict[str, object]:
        pictures = Pictures.of(content["assets"], self._site.settings.console_prefix)
        return {
            "preview": await self._site.articles.markdown(typed["body"], pictures),
            "changes": await changes(self._site, _texts(content), typed),
            "labels": LABELS,
        }

    async def _form(
        self,
        request: Request,
        session: Session,
        content: Content | None,
        form: Form,
        *,
        conflict: bool = False,
        status: int = 200,
    ) -> Response:
        """The form. In a conflict it has the new etag: whoever saves then has seen what the other one wrote."""
        values = {
            "content": content,
            "content_id": request.path_params["content_id"],
            "form": form,
            "etag": content["etag"] if content and conflict else form.typed["etag"],
            "conflict": conflict,
            "editor": await self._editor(session, content) if content and conflict else "",
            "theirs": _texts(content) if content else {},
            "back": self._back(request),
            "me": session.caller["name"] or "anonymous",
            "names": TEXTS,
            "preview": None,
            "changes": [],
            "labels": LABELS,
            **(await self._previewed(content, form.typed) if content else {}),
        }
        return self._site.render(request, "contents/edit.html", values, session, status=status)

    async def _editor(self, session: Session, content: Content) -> str:
        """Returns who wrote the present text."""
        author = ""
        async for revision in session.client.iter_content_revisions(content["content_id"]):
            author = revision["author"] or ""
        return author

    def _back(self, request: Request) -> str:
        """Returns the page that led here."""
        address = request.query_params.get("back", "")
        is_own = is_local(address) and address.startswith(self._site.path("/"))
        return address if is_own else self._site.path(f"/contents/{request.path_params['content_id']}")


def _texts(content: Content) -> dict[str, str]:
    """Returns the texts of a content as a form has them: their lines end in one way."""
    return {name: lines(str(dict(content)[name] or "")) for name in TEXTS}


def _form_of(texts: Mapping[str, str]) -> Form:
    return Form({name: lines(texts.get(name, "")) for name in (*TEXTS, "etag")}, fields=TEXTS)
