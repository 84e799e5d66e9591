"""A console process, a client of it, and articles that mean harm to its readers."""

from __future__ import annotations

import re
import ssl
from collections import defaultdict
from collections.abc import Mapping
from http.cookiejar import CookieJar
from pathlib import Path
from typing import NamedTuple, Self
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPSHandler, Request, build_opener
from urllib.response import addinfourl

from tests.harness.process import Service
from tests.harness.processes import free_port

_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
_ONWARD = re.compile(r'http-equiv="refresh" content="0; url=([^"]+)"')
TIMEOUT = 60.0


class Console(Service):
    """`contentgen-console` on a port that it keeps over restarts."""

    def __init__(self, folder: Path, scheduler: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        addresses = {"CONTENTGEN_CONSOLE_LISTEN": f"127.0.0.1:{self.port}", "CONTENTGEN_SCHEDULER": scheduler}
        super().__init__("console", "contentgen-console", "ready", folder, addresses | settings)


class Answer(NamedTuple):
    """What came back, redirects followed."""

    status: int
    url: str
    headers: dict[str, str]
    text: str

    def says(self, *texts: str, status: int | None = None) -> Self:
        """Checks that the page has these texts, and its status if that is given."""
        __tracebackhide__ = True
        assert status in {None, self.status}
        assert [text for text in texts if text not in self.text] == []
        return self

    def lacks(self, *texts: str) -> Self:
        """Checks that the page has none of these texts."""
        __tracebackhide__ = True
        assert [text for text in texts if text in self.text] == []
        return self

    def hidden(self, form: str = "") -> dict[str, str | list[str]]:
        """Returns the hidden fields of a form by its id, else of the last one; a visitor adds the CSRF token itself."""
        html = self.text.partition(f' id="{form}"')[2] if form else self.text.rpartition("<form")[2]
        values: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in _HIDDEN.findall(html.partition("</form>")[0]):
            values[name].append(value)
        return {name: texts if texts[1:] else texts[0] for name, texts in values.items() if name != "csrf"}


class Visitor:
    """Somebody with a browser without scripts."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        """`context`: for a console with TLS."""
        self.url = url
        self.cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self.cookies), HTTPSHandler(context=context))
        self._csrf = ""

    def get(self, path: str, **headers: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._open(Request(self.url + path, headers=fields))  # noqa: S310 (it is ours)

    def post(
        self,
        path: str,
        fields: Mapping[str, str | list[str]],
        *,
        csrf: str | None = None,
        file: bytes | None = None,
        **headers: str,
    ) -> Answer:
        """Sends a form from the last page, unless the headers or `csrf` say otherwise.

        A field may have several values. `file`: as the upload `file` of a multipart form.
        """
        sent = {"csrf": self._csrf if csrf is None else csrf, **fields}
        if file is None:
            return self.send(path, urlencode(sent, doseq=True).encode(), **headers)
        body, kind = _multipart(sent, file)
        return self.send(path, body, Content_Type=kind, **headers)

    def send(self, path: str, body: bytes, **headers: str) -> Answer:
        """Sends what need not be a form."""
        fields = {"Origin": self.url, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self._open(Request(self.url + path, body, fields))  # noqa: S310 (it is ours)

    def sign_in(self, token: str) -> Answer:
        return self.post("/login", {"token": token})

    def sign_in_at(self, address: str, sub: str) -> Answer:
        """Signs in as `sub` at an OpenID Connect provider, and goes on where the console says."""
        answer = self._open(Request(address, urlencode({"sub": sub}).encode()))  # noqa: S310 (it is ours)
        onward = _ONWARD.search(answer.text)
        return self.get(onward[1]) if onward else answer

    def _open(self, request: Request) -> Answer:
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                answer = _answer(response.status, response)
        except HTTPError as error:
            with error:
                answer = _answer(error.code, error)
        if match := _CSRF.search(answer.text):
            self._csrf = match[1]
        return answer


def _answer(status: int, response: addinfourl) -> Answer:
    return Answer(status, response.url, dict(response.headers), response.read().decode(errors="replace"))


def _multipart(fields: Mapping[str, str | list[str]], file: bytes) -> tuple[bytes, str]:
    """Returns a form with one value a field and a file: its body and its type."""
    between = "----WebKitFormBoundaryAb12Cd34Ef56Gh78"  # as a browser has it
    texts = "".join(
        f'--{between}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head = f'--{between}\r\nContent-Disposition: form-data; name="file"; filename="topics.csv"\r\n\r\n'
    body = texts.encode() + head.encode() + file + f"\r\n--{between}--\r\n".encode()
    return body, f"multipart/form-data; boundary={between}"


# Articles that mean harm. What runs sets `window.__harmed`, and asks for a dialog; what loads comes from `EVIL`.


EVIL = "https://evil.example"
RUN = "window.__harmed=1;alert(1)"
HTML = [
    f"<script>{RUN}</script>",
    f"<script src='{EVIL}/x.js'></script>",
    f"<img src=x onerror='{RUN}'>",
    f"<img src='{EVIL}/pixel.gif' width=1 height=1>",
    f"<img srcset='{EVIL}/a.png 1x, {EVIL}/b.png 2x'>",
    f"<picture><source srcset='{EVIL}/c.png'><img src='{EVIL}/d.png'></picture>",
    f"<svg onload='{RUN}'><script>{RUN}</script><image href='{EVIL}/e.png'/><use href='{EVIL}/f.svg#x'/></svg>",
    f"<svg><a xlink:href='javascript:{RUN}'><text y=20>click</text></a></svg>",
    f"<svg><animate attributeName=href values='javascript:{RUN}'/></svg>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror={RUN}&gt;'>",
    f"<math href='javascript:{RUN}'>m</math>",
    f"<a href='javascript:{RUN}'>plain</a><a href='java\tscript:{RUN}'>tab</a>",
    f"<a href=' &#1;javascript:{RUN}'>control</a>",
    f"<a href='data:text/html,<script>{RUN}</script>'>data</a><a href='vbscript:msgbox(1)'>vb</a>",
    f"<style>@import '{EVIL}/g.css';body{{background:url({EVIL}/h.png);display:none}}</style>",
    f"<p style='background:url({EVIL}/i.png);position:fixed;inset:0;z-index:9999'>over everything</p>",
    f"<link rel=stylesheet href='{EVIL}/j.css'><link rel=prefetch href='{EVIL}/k'><link rel=preconnect href='{EVIL}'>",
    f"<meta http-equiv=refresh content='0;url={EVIL}/l'><base href='{EVIL}/'>",
    f"<iframe src='{EVIL}/m'></iframe><iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<object data='{EVIL}/n'></object><embed src='{EVIL}/o'><applet code=x></applet>",
    f"<video src='{EVIL}/p.mp4' poster='{EVIL}/q.png' autoplay></video><audio src='{EVIL}/r.mp3' autoplay></audio>",
    f"<form action='{EVIL}/s'><input name=token autofocus onfocus='{RUN}'><button>Sign in</button></form>",
    "<form id=edit><input name=csrf><input name=parentNode></form><img name=body><a id=main>x</a>",
    f"<div hx-get='{EVIL}/t' hx-trigger=load hx-on:load='{RUN}' data-key=a data-confirm=x class=acts>htmx</div>",
    f"<details open ontoggle='{RUN}'><summary data-key=r>x</summary></details><dialog open>d</dialog>",
    f"<body onload='{RUN}'><frameset onload='{RUN}'><noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    f"<template><script>{RUN}</script></template><xmp><script>{RUN}</script></xmp><textarea></main><script>{RUN}</script>",
    f"</div></section></main></body></html><script>{RUN}</script>",
    "<div><b><p>broken <table><tr><td><i>never ended",
]
MARKDOWN = [
    f"![p]({EVIL}/u.png) ![ref][r]\n\n[r]: {EVIL}/v.png",
    f"[a](javascript:{RUN}) [b](<java\nscript:{RUN}>) [c](data:text/html;base64,PHNjcmlwdD4=) [d](//evil.example/w)",
    f"<javascript:{RUN}> <{EVIL}/autolink> [logout](/logout) [e](\\\\evil.example\\x)",
    f"[x]: javascript:{RUN}\n\n[x]",
    f'![a](asset:nothing.png) ![b](asset:../../login) ![c](asset:"onerror={RUN}) ![d](data:image/svg+xml,<svg/>)',
    "> " * 500 + "deep",
    "\n".join("  " * depth + "- item" for depth in range(300)),
    "\u202egnp.exe \u2066turned\u2069 \u202bright to left\u202c",
    "Z̸̛͔͖͑a" + "\u0301" * 3_000,
    "\x08\x1b[31m controls \ufffe",
    "```html\n</code></pre><script>" + RUN + "</script>\n```",
    "W" * 20_000,
]
HEAVY_HTML = ["<div>" * 30_000, "".join(f"<b x={n}>" for n in range(9_000)) + "<p>" * 9_000, "<table>" * 20_000]
HEAVY_MARKDOWN = ["[" * 90_000, "![" * 50_000, "> " * 50_000, "*a **b " * 20_000, "|a|b|\n|-|-|\n" + "|\n" * 50_000]
HUGE = "a long line of a very long article. " * 60_000
TITLE = f"\u202etitle</title><script>{RUN}</script>\"'>"
