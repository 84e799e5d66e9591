"""The list of contents; one content: its article and files, who changed and decided what; edit, reopen, delete.

Whoever saves sends the etag of what was read. If somebody else has saved since, nothing is overwritten: both are shown.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, get_args
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from console_svc.articles.texts import SHOWN, Picture, Pictures, as_written
from console_svc.contents.history import entries_of
from console_svc.site import BAD, CONFLICT, EDITING, NOT_FOUND, SEE_OTHER, Link, NotDone, Page, Site, get, post, present
from console_svc.web.filters import Filter
from console_svc.web.forms import BadValue, Form, lines, texts_of, typed_of
from console_svc.web.language import refused, text
from console_svc.web.paging import MAX_FETCH, PAGE_SIZE, all_of, first_of
from console_svc.web.security import is_local
from console_svc.web.sessions import Session, permitted
from contentgen import (
    Comment,
    Content,
    ContentRevision,
    EtagMismatchException,
    InvalidArgument,
    InvalidStateException,
    PublishPoolEntry,
    PublishStatus,
    RequestError,
    ReviewEvent,
    ReviewStatus,
    Task,
    Unauthenticated,
    Unavailable,
)

TEXTS = {
    "title": text("Title"),
    "summary": text("Summary"),
    "category": text("Category"),
    "cover_image": text("Cover picture"),
    "body": text("Text"),
    "html_body": text("HTML"),
}
REVIEW_STATES: Sequence[ReviewStatus] = get_args(ReviewStatus)
PUBLISH_STATES: Sequence[PublishStatus] = get_args(PublishStatus)
NOT_READ = text("An account is a number, a score too, and a label is like team=news.")
_CONDITIONS = ("query", "bodies", "account", "category", "label", "score", "assignee", "before")
_SENT_BACK = re.compile(r"\s*→ (task-[0-9a-f]+)\Z")


FILTERS = {
    "query": Filter(text("Words")),
    "bodies": Filter(text("in the text, too (of the newest 500)"), ("yes",)),
    "assignee": Filter(text("For")),
    "account": Filter(text("Account")),
    "category": Filter(text("Category")),
    "label": Filter(text("Label")),
    "score": Filter(text("Score at least")),
    "review": Filter(text("Review"), REVIEW_STATES),
    "publish": Filter(text("Publication"), PUBLISH_STATES),
}


class Contents(Page):
    link = Link("/contents", "Contents", 50, "ContentService/ListContents", EDITING)

    @get("/contents", filters=FILTERS)
    async def show(self, request: Request, session: Session) -> Response:
        """Lists contents, the newest first. `before` selects those made earlier, which is how the next page begins."""
        params = request.query_params
        typed = typed_of(params, _CONDITIONS)
        review = next((state for state in REVIEW_STATES if state == params.get("review")), None)
        publish = next((state for state in PUBLISH_STATES if state == params.get("publish")), None)
        contents: list[Content] = []
        more = False
        problem = ""
        try:
            contents, more = await first_of(
                session.client.iter_contents(
                    session.accounts.number(typed.get("account", "")),
                    review,
                    publish_status=publish,
                    category=typed.get("category", ""),
                    labels=read_label(typed["label"]) if "label" in typed else None,
                    min_quality_score=float(typed["score"]) if "score" in typed else None,
                    created_before=typed.get("before"),
                    query=typed.get("query", ""),
                    search_bodies="bodies" in typed,
                    assignee=named_user(session, typed.get("assignee", "")),
                    page_size=PAGE_SIZE + 1,
                ),
                PAGE_SIZE,
            )
        except InvalidArgument as error:
            problem = refused(error)
        except ValueError as error:
            problem = error.problem if isinstance(error, BadValue) else NOT_READ
        states = [("review", review)] * bool(review) + [("publish", publish)] * bool(publish)
        filters = [(name, text) for name, text in typed.items() if name != "before"] + states
        older = [*filters, ("before", contents[-1]["created_at"])] if more else []
        values = {
            "contents": contents,
            "typed": typed,
            "review": review,
            "publish": publish,
            "review_states": REVIEW_STATES,
            "publish_states": PUBLISH_STATES,
            "older": urlencode(older),
            "filtered": bool(typed or states),
            "problem": problem,
        }
        return self._site.render(request, "contents/list.html", values, session, bad=problem)


ME = ("me", "我")
"""Stand in filters for whoever has signed in."""


def named_user(session: Session, name: str) -> str:
    return session.user if name in ME else name


def read_label(text: str) -> dict[str, str]:
    """Reads a label such as `team=news`. Raises ValueError for any other text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError
    return {key: value}


class Article(NamedTuple):
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

    async def change(name: str) -> tuple[str, str]:
        html = await site.articles.difference(str(old[name] or ""), str(new[name] or ""))
        return name, as_written(str(new[name] or "")) if html is None else html

    return await asyncio.gather(*(change(name) for name in TEXTS if (old[name] or "") != (new[name] or "")))


ABSENT = text("There is no such content.")
CHANGED = text("Someone has changed it since you read it. This is the present version: read it again.")


class ContentPage(Page):
    @get("/contents/{content_id:int}")
    async def show(self, request: Request, session: Session, content_id: int) -> Response:
        content = present(await session.client.get_content(content_id), ABSENT)
        client, may = session.client, session.may
        article, brief, revisions, (comments, events), attempts, entry = await asyncio.gather(
            article_of(self._site, content),
            brief_of(session, content),
            permitted(may("ContentService/ListContentRevisions"), all_of(client.iter_content_revisions(content_id))),
            _told(session, content_id),
            permitted(may("ContentService/ListPublishAttempts"), all_of(client.iter_publish_attempts(content_id))),
            _entry(session, content),
        )
        old, new = _compared(request, revisions or ())
        values = {
            "content": content,
            "article": article,
            "brief": brief,
            "replaced": await self._replaced(session, content, brief),
            "revisions": revisions,
            "history": entries_of(content, revisions or (), comments, events),
            "shown": SHOWN,
            "old": old,
            "new": new,
            "changes": await changes(self._site, old, new) if old and new else [],
            "labels": TEXTS,
            "attempts": attempts,
            "entry": entry,
            "answering_task": answering_task(content["review_comment"]),
            "reopenable": content["review_status"] != "pending_review"
            and content["publish_status"] not in {"publishing", "published"}
            and may("ContentService/ReopenContent"),
        }
        return self._site.render(request, "contents/content.html", values, session)

    async def _replaced(self, session: Session, content: Content, brief: Task | None) -> dict[str, object] | None:
        """Returns what a content was written in place of, and what differs; None if it was not, or that is gone."""
        old_id = brief and brief["regenerates_content_id"]
        old = await session.client.get_content(old_id) if old_id else None
        if old is None:
            return None
        article, changed = await asyncio.gather(article_of(self._site, old), changes(self._site, old, content))
        return {"content": old, "article": article, "changes": changed}

    @post("/contents/{content_id:int}/reopen")
    async def reopen(self, _: Request, session: Session, content_id: int) -> Response:
        try:
            await session.client.reopen_content(content_id)
        except InvalidStateException as error:
            session.tell("Not taken back: {message}", message=refused(error))
        return self._site.see(f"/contents/{content_id}")

    @post("/contents/{content_id:int}/delete")
    async def delete(self, request: Request, session: Session, content_id: int) -> Response:
        force = (await request.form()).get("force") == "yes"
        try:
            deleted = await session.client.delete_content(content_id, force=force)
        except InvalidStateException as error:
            notice = text("Not deleted: {message}")
            return self._site.done(session, notice, f"/contents/{content_id}", message=refused(error))
        if not deleted:
            raise NotDone(ABSENT, NOT_FOUND)
        return self._site.done(session, "Content {content_id} is deleted.", "/contents", content_id=content_id)


def _compared(
    request: Request, revisions: Sequence[ContentRevision]
) -> tuple[ContentRevision | None, ContentRevision | None]:
    """Returns the two revisions that the address names; else the newest one and the one before."""
    by_number = {str(revision["number"]): revision for revision in revisions}
    old = by_number.get(request.query_params.get("from", "")) or (revisions[-2] if len(revisions) > 1 else None)
    new = by_number.get(request.query_params.get("to", "")) or (revisions[-1] if len(revisions) > 1 else None)
    return old, new


async def _told(session: Session, content_id: int) -> tuple[list[Comment], list[ReviewEvent]]:
    """Returns what editors have said of a content, and decided."""
    client, may = session.client, session.may
    comments, events = await asyncio.gather(
        permitted(may("ContentService/ListComments"), all_of(client.iter_comments(content_id))),
        permitted(may("ContentService/ListReviewEvents"), all_of(client.iter_review_events(content_id))),
    )
    return comments or [], events or []


async def _entry(session: Session, content: Content) -> PublishPoolEntry | None:
    """Finds the entry of a content among the first ones of its state in the publish pool: no call reads one alone."""
    status = content["publish_status"]
    if status is None or not session.may("ContentService/ListPublishPool"):
        return None
    pool = session.client.iter_publish_pool(content["account_id"], status, page_size=MAX_FETCH)
    entries, _ = await first_of(pool, MAX_FETCH)
    return next((entry for entry in entries if entry["content_id"] == content["content_id"]), None)


LEASE = 300.0
"""Seconds for which an open article is held; the page renews it every 2 min."""


async def claimed(session: Session, content_id: int) -> Content | None:
    """Returns the content, which the user holds now; None if it is decided, or not the user's to hold."""
    if not session.may("ContentService/ClaimReview"):
        return None
    return await session.client.claim_review(content_id=content_id, lease=LEASE)


DELETED = text("It has been deleted.")


class Edit(Page):
    @get("/contents/{content_id:int}/edit")
    async def show(self, request: Request, session: Session, content_id: int) -> Response:
        content = present(await session.client.get_content(content_id), ABSENT)
        if content["review_status"] == "pending_review":
            content = await claimed(session, content_id) or content
        return await self._form(request, session, content, _form_of({**_texts(content), "etag": content["etag"]}))

    @post("/contents/{content_id:int}/edit")
    async def save(self, request: Request, session: Session, content_id: int) -> Response:
        """Saves what differs from what was read. Whatever goes wrong, the form comes back with what was typed."""
        form = _form_of(texts_of(await request.form()))
        etag = form.typed["etag"]
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
                return RedirectResponse(back_of(self._site, request), SEE_OTHER)
        except EtagMismatchException:
            content = await session.client.get_content(content_id)
        except (Unauthenticated, Unavailable):
            raise
        except RequestError as error:
            form.refused(error)
            return await self._form(request, session, content, form, status=BAD)
        return await self._form(request, session, content, form, status=CONFLICT)

    @post("/contents/{content_id:int}/preview")
    async def preview(self, request: Request, session: Session, content_id: int) -> Response:
        """Shows what the typed texts look like, and what differs from the stored ones, as a part of the page."""
        content = await session.client.get_content(content_id)
        if content is None:
            return Response(status_code=NOT_FOUND)
        values = await self._previewed(content, _form_of(texts_of(await request.form())).typed)
        return self._site.render(request, "contents/edit_preview.html", values)

    async def _previewed(self, content: Content, typed: Mapping[str, str]) -> dict[str, object]:
        pictures = Pictures.of(content["assets"], self._site.settings.console_prefix)
        return {
            "preview": await self._site.articles.markdown(typed["body"], pictures),
            "changes": await changes(self._site, _texts(content), typed),
            "labels": TEXTS,
        }

    async def _form(
        self, request: Request, session: Session, content: Content | None, form: Form, *, status: int = 200
    ) -> Response:
        """Returns the form. In a conflict it has the new etag: whoever saves then has seen what the other one wrote."""
        content_id, conflict = request.path_params["content_id"], status == CONFLICT
        client = session.client
        revisions = await all_of(client.iter_content_revisions(content_id)) if content and conflict else []
        values = {
            "content": content,
            "content_id": content_id,
            "form": form,
            "etag": content["etag"] if content and conflict else form.typed["etag"],
            "conflict": conflict,
            "editor": revisions[-1]["author"] if revisions else "",
            "theirs": _texts(content) if content else {},
            "back": back_of(self._site, request),
            "assets": content["assets"] if content else (),
            "names": TEXTS,
            "preview": None,
            "changes": [],
            "labels": TEXTS,
            **(await self._previewed(content, form.typed) if content else {}),
        }
        return self._site.render(request, "contents/edit.html", values, session, status=status)


def back_of(site: Site, request: Request) -> str:
    """Returns the page that led here."""
    address = request.query_params.get("back", "")
    is_own = is_local(address) and address.startswith(site.path("/"))
    return address if is_own else site.path(f"/contents/{request.path_params['content_id']}")


def _texts(content: Content) -> dict[str, str]:
    """Returns the texts of a content as a form has them: their lines end in one way."""
    return {name: lines(str(dict(content)[name] or "")) for name in TEXTS}


def _form_of(texts: Mapping[str, str]) -> Form:
    return Form({name: lines(texts.get(name, "")) for name in (*TEXTS, "etag")}, fields=TEXTS)


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
CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cache-control": "private, no-cache",
}


class Assets(Page):
    @get("/assets/{sha256}/{name}")
    async def show(self, _: Request, session: Session, sha256: str, name: str) -> Response:
        """Shows a picture of a kind that browsers only draw; anything else is only saved."""
        asset = await session.client.get_asset_info(sha256) if _SHA256.fullmatch(sha256) else None
        info = present(asset, "There is no such file.")
        is_picture = info["media_type"] in SHOWN
        headers = {
            **_FILE_HEADERS,
            "content-length": str(info["size"]),
            "content-disposition": f"{'inline' if is_picture else 'attachment'}; filename*=utf-8''{quote(name)}",
        }
        media_type = info["media_type"] if is_picture else "application/octet-stream"
        return StreamingResponse(_bytes(session, sha256, info["size"]), media_type=media_type, headers=headers)

    @get("/contents/{content_id:int}/html")
    async def show_html(self, _: Request, session: Session, content_id: int) -> Response:
        content = await session.client.get_content(content_id)
        text = content["html_body"] if content else ""
        html = await self._site.articles.html(text, Pictures({}))  # no cookie comes with what a sandbox would load
        return HTMLResponse(frame(as_written(text) if html is None else html), headers=FRAME_HEADERS)

    @get("/contents/{content_id:int}/text")
    async def save_text(self, _: Request, session: Session, content_id: int) -> Response:
        """Sends the whole text as a file, however long it is."""
        content = present(await session.client.get_content(content_id), ABSENT)
        headers = {**_FILE_HEADERS, "content-disposition": f"attachment; filename=content-{content_id}.md"}
        return Response(content["body"], media_type="text/markdown", headers=headers)


async def _bytes(session: Session, sha256: str, size: int) -> AsyncIterator[bytes]:
    for offset in range(0, size, CHUNK):
        yield await session.client.read_asset(sha256, offset=offset, length=min(CHUNK, size - offset))


def frame(html: str) -> str:
    """Returns the document in the frame, of HTML that is safe already."""
    return f'<!doctype html><meta charset="utf-8"><title>-</title><style>{STYLE}</style><body dir="auto">{html}</body>'
