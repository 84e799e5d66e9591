"""Articles that mean harm, and requests that no browser sends."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from select import select
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

import console_svc
from console_svc.app import PAGES
from console_svc.config import ConsoleSettings
from console_svc.metrics import ConsoleMetrics
from console_svc.site import Site
from console_svc.web.forms import MAX_FORM, MAX_FORMS
from console_svc.web.values import bound_ids_of_paths
from tests.console.conftest import ANNA, Place, cookies_of, page_at
from tests.harness.console import HTML, HUGE, MARKDOWN, TITLE, Console
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.browser


# Articles that mean harm, in a real browser: nothing runs, nothing loads, and the page stays usable.


class Watched:
    """A page that notes what must not happen."""

    def __init__(self, page: Page, own_address: str) -> None:
        self.page = page
        self.loaded: list[str] = []
        self.dialogs: list[str] = []
        self._own = urlsplit(own_address).netloc
        page.on("request", lambda request: self._note(request.url))
        page.on("dialog", self._dismiss)

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "about", "blob"} and parts.netloc != self._own:
            self.loaded.append(url)

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def check(self) -> None:
        assert self.dialogs == []
        assert self.loaded == []
        loaded = [frame for frame in self.page.frames if frame.url.startswith("http")]  # a lazy one answers nothing
        assert [frame.evaluate("window.__harmed") for frame in loaded] == [None] * len(loaded)


@pytest.fixture
def watched(place: Place, chromium: Browser) -> Iterator[Watched]:
    with page_at(place, chromium, ANNA) as page:
        watched = Watched(page, place.console.url)
        yield watched
        watched.check()


def usable(page: Page) -> None:
    """What decides is on top of everything, and nothing reaches beyond the page."""
    page.get_by_role("button", name="Approve", exact=True).click(trial=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.costly("a browser opens an article of every trick", seconds=5)
def test_nothing_of_a_hostile_article_runs_or_loads(place: Place, watched: Watched) -> None:
    content_id, page = place.article("hostile", requirements=TITLE, keywords=TITLE)["content_id"], watched.page
    texts = {"title": TITLE, "summary": TITLE, "category": TITLE, "cover_image": TITLE}
    for html in ("\n".join(HTML), "\n".join(reversed(HTML))):  # some swallow what follows
        place.client.update_content(content_id, body="\n\n".join([*MARKDOWN, *HTML]), html_body=html, **texts)
        page.goto(f"/contents/{content_id}")
        page.locator(".own-html summary").click()
        expect(page.frame_locator("iframe").locator("body")).to_have_attribute("dir", "auto")
        selector = "img, script, style ~ style, form, [href^=javascript], [style]"
        assert page.frame_locator("iframe").locator(selector).count() == 0
        watched.check()
    for path in (f"/contents/{content_id}/edit", "/contents", f"/tasks/{place.content(content_id)['task_id']}"):
        page.goto(path)
        watched.check()
    page.goto(f"/review/{content_id}")
    usable(page)
    for link in page.locator(".article a").all():
        assert urlsplit(link.get_attribute("href") or "https:").scheme in {"http", "https", "mailto"}
    assert page.locator(".article :is(img, script, form, input, [id], [style], [onclick], [hx-get])").count() == 0


def test_an_article_that_is_too_much_is_shown_as_it_was_written(
    place: Place, watched: Watched, content_id: int
) -> None:
    page = watched.page
    place.client.update_content(content_id, body=HUGE, html_body="<div>" * 50_000)
    page.goto(f"/review/{content_id}")
    usable(page)
    expect(page.locator(".article")).to_contain_text(HUGE[:200])
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the whole text").click()
    assert download.value.path().read_text() == HUGE
    page.goto(f"/contents/{content_id}")
    page.locator(".own-html summary").click()
    expect(page.frame_locator("iframe").locator("pre")).to_contain_text("<div><div>")


def test_what_turns_text_is_shown_by_its_number(place: Place, watched: Watched, content_id: int) -> None:
    page = watched.page
    place.client.update_content(content_id, title="a \u202egnp.exe", body="see \u202egnp.exe")
    page.goto(f"/review/{content_id}")
    expect(page.locator(".paper h2")).to_have_text("a ⟦U+202E⟧gnp.exe")
    expect(page.locator(".article")).to_have_text("see ⟦U+202E⟧gnp.exe")


# Requests that no browser sends, to every route: each is refused plainly, and none is a failure of the console.


CONSOLE = Path(console_svc.__file__).parent
FIELDS = sorted(
    {name for file in CONSOLE.rglob("*.html") for name in re.findall(r'name="([a-z_]+)"', file.read_text())}
)
"""All that a form or an address may hold."""
HUGE_NUMBER, LONG = str(2**63), "9" * 5_000
SEGMENTS = (HUGE_NUMBER, LONG, "%D9%A3", "%00[")
VALUES = (HUGE_NUMBER, LONG, "٣", "nan", "\0", "\ud800//[{}%\r\nd: e")
TIMES = ("0001-01-01T00:00:00+14:00", "0001-01-01")
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="token"%b\r\n\r\n%b\r\n'
LARGE = b"x" * (2 << 20)
FORMS = {
    "a field of 2 MiB": (FORM, b"token=" + LARGE, 413),
    "a part of 2 MiB": (MULTIPART, PART % (b"", LARGE) + b"--b--\r\n", 413),
    "a file of 2 MiB": (MULTIPART, PART % (b'; filename="a"', LARGE) + b"--b--\r\n", 413),
    "nothing but separators": (FORM, b"&" * (2 << 20), 413),
    "many fields": (FORM, b"a&" * 5_000, 400),
    "many parts": (MULTIPART, PART % (b"", b"") * 250 + b"--b--\r\n", 403),
    "many files": (MULTIPART, PART % (b'; filename="a"', b"") * 2 + b"--b--\r\n", 400),
    "a file": (MULTIPART, PART % (b'; filename="a"', b"x") + b"--b--\r\n", 403),
    "a part without a name": (MULTIPART, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", 400),
    "no parts": (MULTIPART, b"x" * 1_000, 400),
    "no boundary": ("multipart/form-data", b"--b", 415),
    "an empty boundary": ("multipart/form-data; boundary=", b"--", 415),
    "a long boundary": (f"multipart/form-data; boundary={'b' * 5_000}", b"", 415),
    "a slow character set": (f"{MULTIPART}; charset=idna", b"", 415),
    "JSON": ("application/json", b"{}", 415),
    "no type": ("", b"token=x", 415),
}
"""By what is wrong: type, body, and the status that it has to get."""


@dataclass(frozen=True)
class Stranger:
    """Makes requests byte by byte, in the session of a cookie if there is one."""

    port: int
    cookie: str = ""
    csrf: str = ""

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """Makes a request and returns the status of the answer."""
        defaults = {"Host": f"127.0.0.1:{self.port}", "Origin": f"http://127.0.0.1:{self.port}", "Cookie": self.cookie}
        defaults |= {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in (defaults | {name.replace("_", "-"): value for name, value in headers.items()}).items():
                connection.putheader(name, value)
            connection.endheaders(body)
            return connection.getresponse().status

    def form(self, fields: dict[str, str]) -> bytes:
        return urlencode({**fields, "csrf": self.csrf}, errors="surrogatepass").encode()


@pytest.fixture(scope="module")
def stranger(fresh_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    """A stranger to a console that believes what a proxy says, so that tries to sign in count for other addresses."""
    settings = {"CONTENTGEN_CONSOLE_BEHIND_PROXY": "true"}
    console = Console(tmp_path_factory.mktemp("behind"), fresh_place.scheduler.target, **settings).start()
    yield Stranger(console.port)
    console.stop()
    assert_no_failure(console)


@pytest.fixture(scope="module")
def operator(fresh_place: Place) -> Iterator[Stranger]:
    """An operator of a place of its own: the forms that it sends are real ones, too, and change what has the ID 1."""
    visitor = fresh_place.visitor()
    (csrf, *_) = re.findall(r'name="csrf" value="([^"]+)"', visitor.get("/").text)
    yield Stranger(fresh_place.console.port, cookies_of(visitor), csrf)
    assert_no_failure(fresh_place.console)


def assert_no_failure(console: Console) -> None:
    log = console.log.read_text()
    assert "page.failed" not in log
    assert "Traceback" not in log


@cache
def routes(method: str) -> Sequence[str]:
    """Returns the paths of all pages, or of all forms but those that sign in and out."""
    bound_ids_of_paths()
    site = Site(ConsoleSettings(), cast("Any", None), ConsoleMetrics())
    paths = [route.path for page in PAGES for route in page(site).routes() if method in (route.methods or ())]
    return [path for path in paths if path not in {"/login", "/logout"}]


@pytest.mark.parametrize("segment", SEGMENTS)
def test_a_path_that_leads_nowhere(operator: Stranger, segment: str) -> None:
    for method in ("GET", "POST"):
        for path in routes(method):
            status = operator.ask(method, re.sub(r"\{.*?\}", segment, path), operator.form({})) if "{" in path else 404
            assert status == 404 if ":int}" in path else status < 500, (method, path)


@pytest.mark.parametrize("value", [*VALUES, *TIMES])
def test_an_address_and_a_form_with_anything_in_them(operator: Stranger, value: str) -> None:
    query = urlencode(dict.fromkeys(FIELDS, value[:100]), errors="surrogatepass")
    for path in routes("GET"):
        assert operator.ask("GET", f"{re.sub('{.*?}', '1', path)}?{query}") < 500, path
    body = operator.form(dict.fromkeys(FIELDS, value))
    for path in routes("POST"):
        assert operator.ask("POST", re.sub("{.*?}", "1", path), body) < 500, path


@pytest.mark.parametrize("wrong", FORMS)
def test_a_form_that_is_none(stranger: Stranger, wrong: str) -> None:
    kind, body, status = FORMS[wrong]
    address = f"192.0.2.{[*FORMS].index(wrong)}"
    assert stranger.ask("POST", "/login", body, Content_Type=kind, X_Forwarded_For=address) == status


def test_a_large_form_of_somebody_who_has_signed_in(operator: Stranger) -> None:
    """Up to 8 MiB it is read, whatever is in it."""
    assert operator.ask("POST", "/webhooks/new", operator.form({"url": "x" * (2 << 20)})) == 400
    for body in (LARGE * 5, b"&" * (9 << 20), b"a&" * 5_000):
        assert operator.ask("POST", "/webhooks/new", body) in {400, 413}
    assert operator.ask("POST", "/webhooks/new", b"", Content_Type="multipart/form-data") == 415


def test_forms_that_arrive_at_a_time_are_bounded_together(operator: Stranger) -> None:
    """They stop short of their ends. Once they have gone the next one is read."""
    head = f"POST /webhooks/new HTTP/1.1\r\nHost: 127.0.0.1:{operator.port}\r\nOrigin: http://127.0.0.1:{operator.port}"
    head += f"\r\nCookie: {operator.cookie}\r\nContent-Type: {FORM}\r\nContent-Length: {MAX_FORM}\r\n\r\n"
    with ExitStack() as opened:
        peers = [
            opened.enter_context(socket.create_connection(("127.0.0.1", operator.port), 60))
            for _ in range(MAX_FORMS // MAX_FORM + 1)
        ]
        for peer in peers:
            peer.sendall(head.encode() + b"a" * (MAX_FORM - 1))
        (refused_peer, *_), _, _ = select(peers, [], [], 60)
        assert refused_peer.recv(12) == b"HTTP/1.1 503"
    wait_until(
        lambda: operator.ask("POST", "/webhooks/new", operator.form({"url": "x"})) == 400, within=60, what="it is read"
    )


@pytest.mark.parametrize("address", ["http://[", "//[", "http://[::1", "http://]", "\x80\xff", "x" * 10_000])
def test_headers_that_name_no_address(stranger: Stranger, address: str) -> None:
    assert stranger.ask("POST", "/login", b"token=x", Origin=address) == 403
    assert stranger.ask("GET", "/language/en", Referer=address) == 303
    assert stranger.ask("GET", "/login", Cookie=f"session={address}; zone={address}; language={address}") == 200
    assert stranger.ask("GET", "/login", Accept_Language=address, X_Forwarded_For=address, HX_Request=address) == 200
