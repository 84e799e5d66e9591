"""One content: its text, who changed and decided what, where it was published; reopen, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.contents.article import LABELS, answering_task, article_of, brief_of, changes
from console_svc.site import NOT_FOUND, Site
from console_svc.web.language import refused
from console_svc.web.paging import MAX_FETCH, first_of
from console_svc.web.sessions import Session
from contentgen import Content, ContentRevision, InvalidStateException, PublishAttempt, PublishPoolEntry


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
