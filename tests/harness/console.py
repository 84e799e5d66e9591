"""A console process, and a client of it that keeps cookies as a browser does."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPSHandler, Request, build_opener
from urllib.response import addinfourl

from tests.harness.ports import free_port
from tests.harness.process import inherited
from tests.harness.service import Service

_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
TIMEOUT = 60.0


class Console(Service):
    """`contentgen-console` on a port that it keeps over restarts."""

    def __init__(self, folder: Path, scheduler: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            **inherited(),
            "CONTENTGEN_CONSOLE_LISTEN": f"127.0.0.1:{self.port}",
            "CONTENTGEN_SCHEDULER": scheduler,
            **settings,
        }
        super().__init__("console", "contentgen-console", "ready", folder / "console.log", environment)


class Answer:
    """What came back, redirects followed."""

    def __init__(self, status: int, url: str, headers: dict[str, str], text: str) -> None:
        self.status = status
        self.url = url
        self.headers = headers
        self.text = text


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
    """A form with one value a field and a file: its body and its type."""
    between = "between-the-parts"
    texts = "".join(
        f'--{between}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head = f'--{between}\r\nContent-Disposition: form-data; name="file"; filename="topics.csv"\r\n\r\n'
    body = texts.encode() + head.encode() + file + f"\r\n--{between}--\r\n".encode()
    return body, f"multipart/form-data; boundary={between}"
