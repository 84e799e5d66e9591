"""The files of contents, and an article's own HTML in a document that may do nothing."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from console_svc.articles.texts import SHOWN, Pictures, as_written
from console_svc.site import NOT_FOUND, Site
from console_svc.web.sessions import Session

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
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cache-control": "private, no-cache",
}


class Assets:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return (
            self._site.page("/assets/{sha256}/{name}", self.show),
            self._site.page("/contents/{content_id:int}/html", self.show_html),
            self._site.page("/contents/{content_id:int}/text", self.save_text),
        )

    async def show(self, request: Request, session: Session) -> Response:
        """A picture of a kind that browsers only draw; anything else is only saved."""
        sha256, name = request.path_params["sha256"], request.path_params["name"]
        info = await session.client.get_asset_info(sha256) if _SHA256.fullmatch(sha256) else None
        if info is None:
            return self._site.failure(request, session, "There is no such file.", NOT_FOUND)
        is_picture = info["media_type"] in SHOWN
        headers = {
            **_HEADERS,
            "content-length": str(info["size"]),
            "content-disposition": f"{'inline' if is_picture else 'attachment'}; filename*=utf-8''{quote(name)}",
        }
        media_type = info["media_type"] if is_picture else "application/octet-stream"
        return StreamingResponse(_bytes(session, sha256, info["size"]), media_type=media_type, headers=headers)

    async def show_html(self, request: Request, session: Session) -> Response:
        content = await session.client.get_content(request.path_params["content_id"])
        text = content["html_body"] if content else ""
        html = await self._site.articles.html(text, Pictures({}))  # no cookie comes with what a sandbox would load
        return HTMLResponse(frame(as_written(text) if html is None else html), headers=FRAME_HEADERS)

    async def save_text(self, request: Request, session: Session) -> Response:
        """The whole text as a file, however long it is."""
        content_id = request.path_params["content_id"]
        content = await session.client.get_content(content_id)
        if content is None:
            return self._site.failure(request, session, "There is no such content.", NOT_FOUND)
        headers = {**_HEADERS, "content-disposition": f"attachment; filename=content-{content_id}.md"}
        return Response(content["body"], media_type="text/markdown", headers=headers)


async def _bytes(session: Session, sha256: str, size: int) -> AsyncIterator[bytes]:
    for offset in range(0, size, CHUNK):
        yield await session.client.read_asset(sha256, offset=offset, length=min(CHUNK, size - offset))


def frame(html: str) -> str:
    """The document in the frame, of HTML that is safe already."""
    return f'<!doctype html><meta charset="utf-8"><title>-</title><style>{STYLE}</style><body dir="auto">{html}</body>'
