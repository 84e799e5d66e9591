"""New tasks: one by a form, or many by a sheet. A form that is sent twice makes nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.datastructures import ImmutableMultiDict, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from console_svc.site import EDITING, FORBIDDEN, Link, NotDone, Page, get, post, present
from console_svc.submits.fields import TYPED, of_task, read
from console_svc.submits.sheet import ENCODINGS, LABEL, MAX_ROWS, Sheet, decoded, label_of, sheet, submit
from console_svc.web.forms import BadValue, Form, lines, texts_of
from console_svc.web.language import filled, plural
from console_svc.web.sessions import Session
from contentgen import RequestError, Unauthenticated, Unavailable

SHOWN_GOOD, SHOWN_BAD = 20, 200
SOON = 1.0
"""Seconds that the form waits for its work to end before its page shows how far it is."""
_KEY = "key"


class New(Page):
    link = Link("/new", "New task", 75, "TaskService/SubmitTask", EDITING)

    @get("/new")
    async def show(self, request: Request, session: Session) -> Response:
        """Fills the form in like the task `from`, or else by the query, which has the fields by their names."""
        params = request.query_params
        form = _form_of(params, session)
        form.typed = {**session.chosen("account_id"), **form.typed}
        if copied := params.get("from", ""):
            form = Form(of_task(present(await session.client.get_task_status(copied), "There is no such task.")))
        return await self._form(request, session, form, copied=copied)

    @post("/new")
    async def submit(self, request: Request, session: Session) -> Response:
        data = await request.form()
        form = _form_of(data, session)
        values = read(form)
        key, copied = str(data.get(_KEY, "")), str(data.get("from", ""))
        if form.problems:
            return await self._form(request, session, form, key=key, copied=copied)
        if not session.may("TaskService/SubmitTask"):
            raise NotDone("Your role may not do that.", FORBIDDEN)
        # The same words of the same form are the same task; with other words it is another one.
        words = json.dumps([key, form.typed], sort_keys=True)
        request_id = f"form-{hashlib.sha256(words.encode()).hexdigest()[:32]}"
        try:
            task_id = await session.client.submit_task(**values, request_id=request_id)
        except (Unauthenticated, Unavailable):
            raise
        except RequestError as error:
            form.refused(error)
            return await self._form(request, session, form, key=key, copied=copied)
        return self._site.done(session, "It is submitted.", f"/tasks/{task_id}")

    async def _form(
        self, request: Request, session: Session, form: Form, *, key: str = "", copied: str = ""
    ) -> Response:
        """`key`: that of the form before, which may have been submitted though nobody has heard of it."""
        values = {
            "form": form,
            "key": key or secrets.token_urlsafe(16),
            "copied": copied,
            "accounts": session.accounts.offered(),
            "fields": TYPED,
        }
        return self._site.render(request, "submits/one.html", values, session, bad=form.problems)

    @get("/new/many")
    async def show_many(self, request: Request, session: Session) -> Response:
        return await self._many(request, session, _form_of(request.query_params, session), secrets.token_urlsafe(16))

    @post("/new/many", calls=False)
    async def submit_many(self, request: Request, session: Session) -> Response:
        """Shows what the rows say; submits them when they have been seen."""
        data = await request.form()
        form, run = _form_of(data, session), str(data.get(_KEY, "")) or secrets.token_urlsafe(16)
        encoding = str(data.get("encoding", ""))
        rows, file = str(data.get("rows", "")), data.get("file")
        try:
            if isinstance(file, UploadFile) and file.filename:
                rows, form.typed["read_as"] = decoded(await file.read(), encoding)
            form.typed["rows"] = rows
            preview = await asyncio.to_thread(sheet, rows, _defaults(form), form, run)
        except BadValue as error:
            form.problems["rows"] = error.problem
            return await self._many(request, session, form, run)
        digest = _seen(form, run)
        if data.get("step") != "submit" or data.get("seen") != digest or not preview.good:
            return await self._many(request, session, form, run, preview)
        if not session.may("TaskService/BatchSubmitTasks"):
            raise NotDone("Your role may not do that.", FORBIDDEN)
        title = filled(plural("Submitting {n} task", "Submitting {n} tasks"), n=len(preview.good))
        job = partial(submit, session, preview.good)
        back = f"/tasks?label={LABEL}%3D{label_of(run)}"
        work = self._site.work.begin(session, digest, title, job, total=len(preview.good), back=back)
        notice = plural("Submitted {n} task.", "Submitted {n} tasks.")
        return await self._site.see_work(session, work, notice, SOON)

    async def _many(
        self, request: Request, session: Session, form: Form, run: str, sheet: Sheet | None = None
    ) -> Response:
        values = {
            "form": form,
            "key": run,
            "seen": _seen(form, run) if sheet else "",
            "sheet": sheet,
            "encodings": ENCODINGS,
            "accounts": session.accounts.offered(),
            "fields": TYPED,
            "shown_good": SHOWN_GOOD,
            "shown_bad": SHOWN_BAD,
            "max_rows": MAX_ROWS,
        }
        return self._site.render(request, "submits/many.html", values, session, bad=form.problems)


def _form_of(data: ImmutableMultiDict[str, Any], session: Session) -> Form:
    """Returns the fields as they were typed, with the line ends of this side."""
    typed = {name: lines(value) for name, value in texts_of(data).items() if name in (*TYPED, "zone")}
    return Form({name: value for name, value in typed.items() if value.strip()}, TYPED, account=session.accounts.number)


def _defaults(form: Form) -> Mapping[str, str]:
    return {name: value for name, value in form.typed.items() if name in TYPED and name != "topic"}


def _seen(form: Form, run: str) -> str:
    """Returns a digest of what a preview has shown."""
    rows = form.typed.get("rows", "").replace("\r\n", "\n")
    words = json.dumps([run, rows, {**_defaults(form)}, str(form.zone)], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:32]
