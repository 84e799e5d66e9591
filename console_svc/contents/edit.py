"""Editing the texts of a content, with a preview and what has changed.

Whoever saves sends the etag of what was read. If somebody else has saved since, nothing is overwritten: both are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from console_svc.articles.pictures import Pictures
from console_svc.contents.article import LABELS, TEXTS, changes
from console_svc.site import BAD, CONFLICT, NOT_FOUND, SEE_OTHER, Site
from console_svc.web.forms import Form, lines, texts_of
from console_svc.web.language import text
from console_svc.web.security import is_local
from console_svc.web.sessions import Session
from contentgen import Content, EtagMismatchException, RequestError, Unauthenticated, Unavailable

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
