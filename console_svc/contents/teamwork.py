"""What editors do with a content beside its text: earlier texts, files and the cover, comments, who is to review it."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import PurePosixPath

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console_svc.contents.content import ABSENT, CHANGED, back_of
from console_svc.site import NOT_FOUND, SEE_OTHER, NotDone, Page, post
from console_svc.web.forms import text_of
from console_svc.web.language import refused, text
from console_svc.web.sessions import Session
from console_svc.web.values import MAX_NUMBER, whole
from contentgen import EtagMismatchException, InvalidArgument, ResourceExhausted, ResourceNotFoundException

MAX_UPLOAD = (32 << 20) + (64 << 10)
"""Bytes of a form with a file as large as an asset may be."""


class Teamwork(Page):
    @post("/contents/{content_id:int}/restore")
    async def restore(self, request: Request, session: Session, content_id: int) -> Response:
        form = await request.form()
        try:
            number = whole(text_of(form, "revision"), 1, MAX_NUMBER)
        except ValueError:
            raise NotDone(ABSENT, NOT_FOUND) from None
        call = session.client.restore_content_revision(content_id, number, etag=text_of(form, "etag"))
        return await self._changed(request, session, call, text("Restored."))

    @post("/contents/{content_id:int}/comment")
    async def comment(self, request: Request, session: Session, content_id: int) -> Response:
        try:
            await session.client.add_comment(content_id, text_of(await request.form(), "text"))
        except (InvalidArgument, ResourceExhausted) as error:
            session.tell(text("Not added: {message}"), message=refused(error))
        return RedirectResponse(back_of(self._site, request), SEE_OTHER)

    @post("/contents/{content_id:int}/assign")
    async def assign(self, request: Request, session: Session, content_id: int) -> Response:
        await session.client.assign_review(content_id, text_of(await request.form(), "assignee"))
        return RedirectResponse(back_of(self._site, request), SEE_OTHER)

    @post("/contents/{content_id:int}/files", limit=MAX_UPLOAD)
    async def upload(self, request: Request, session: Session, content_id: int) -> Response:
        form = await request.form()
        file = form.get("file")
        if not isinstance(file, UploadFile) or not file.size:
            session.tell(text("Choose a file first."))
            return RedirectResponse(back_of(self._site, request), SEE_OTHER)
        name = text_of(form, "name") or PurePosixPath((file.filename or "").replace("\\", "/")).name
        call = session.client.upload_asset(content_id, name, file.file, etag=text_of(form, "etag"))
        return await self._changed(request, session, call, text("Uploaded."))

    @post("/contents/{content_id:int}/files/remove")
    async def remove(self, request: Request, session: Session, content_id: int) -> Response:
        form = await request.form()
        call = session.client.remove_asset(content_id, text_of(form, "name"), etag=text_of(form, "etag"))
        return await self._changed(request, session, call, text("Removed."))

    @post("/contents/{content_id:int}/cover")
    async def cover(self, request: Request, session: Session, content_id: int) -> Response:
        form = await request.form()
        image = f"asset:{text_of(form, 'name')}"
        call = session.client.update_content(content_id, cover_image=image, etag=text_of(form, "etag"))
        return await self._changed(request, session, call, text("Saved."))

    async def _changed(self, request: Request, session: Session, call: Awaitable[object], notice: str) -> Response:
        """Makes the call, and leads back to a page that says what became of it."""
        try:
            await call
            session.tell(notice)
        except EtagMismatchException:
            session.tell(CHANGED)
        except (InvalidArgument, ResourceNotFoundException) as error:
            session.tell(text("Not done: {message}"), message=refused(error))
        return RedirectResponse(back_of(self._site, request), SEE_OTHER)
