"""The tokens, by their names: role, accounts, and what revokes them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from console_svc.site import Link, Page, get, post
from console_svc.web.forms import text_of
from console_svc.web.language import text
from console_svc.web.paging import fetched, page_number, page_of
from console_svc.web.sessions import Session


class Tokens(Page):
    link = Link("/tokens", "Tokens", 105, "SystemService/ListTokens")

    @get("/tokens")
    async def show(self, request: Request, session: Session) -> Response:
        number = page_number(request)
        tokens, more = await page_of(session.client.iter_tokens(page_size=fetched(number)), number)
        values = {"tokens": tokens, "page": number, "more": more}
        return self._site.render(request, "tokens/page.html", values, session)

    @post("/tokens/revoke")
    async def revoke(self, request: Request, session: Session) -> Response:
        """Revokes the user's own tokens, too: then the next page leads to the form."""
        name = text_of(await request.form(), "name")
        await session.client.revoke_token(name)
        return self._site.done(session, text("The tokens named {name} are revoked."), "/tokens", name=name)
