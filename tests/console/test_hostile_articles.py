"""Articles that mean harm, in a real browser: nothing runs, nothing loads, and the page stays usable."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from tests.console.conftest import ANNA, Place, page_at, sign_in
from tests.console.review_world import Press
from tests.harness.hostile import HTML, HUGE, MARKDOWN, TITLE


@pytest.fixture(scope="module")
def place(newsroom: Place) -> Place:
    return newsroom


@pytest.fixture(scope="module")
def press(place: Place) -> Press:
    return Press(place)


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
    with page_at(place, chromium) as page:
        watched = Watched(page, place.console.url)
        sign_in(page, ANNA)
        yield watched
        watched.check()


def usable(page: Page) -> None:
    """What decides is on top of everything, and nothing reaches beyond the page."""
    page.get_by_role("button", name="Approve", exact=True).click(trial=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.costly("a browser opens an article of every trick")
def test_nothing_of_a_hostile_article_runs_or_loads(press: Press, watched: Watched) -> None:
    content_id, page = press.article("hostile", requirements=TITLE, keywords=TITLE)["content_id"], watched.page
    texts = {"title": TITLE, "summary": TITLE, "category": TITLE, "cover_image": TITLE}
    for html in ("\n".join(HTML), "\n".join(reversed(HTML))):  # some swallow what follows
        press.changed(content_id, body="\n\n".join([*MARKDOWN, *HTML]), html_body=html, **texts)
        page.goto(f"/contents/{content_id}")
        page.locator(".own-html summary").click()
        expect(page.frame_locator("iframe").locator("body")).to_have_attribute("dir", "auto")
        selector = "img, script, style ~ style, form, [href^=javascript], [style]"
        assert page.frame_locator("iframe").locator(selector).count() == 0
        watched.check()
    for path in (f"/contents/{content_id}/edit", "/contents", f"/tasks/{press.now(content_id)['task_id']}"):
        page.goto(path)
        watched.check()
    page.goto(f"/review/{content_id}")
    usable(page)
    for link in page.locator(".article a").all():
        assert urlsplit(link.get_attribute("href") or "https:").scheme in {"http", "https", "mailto"}
    assert page.locator(".article :is(img, script, form, input, [id], [style], [onclick], [hx-get])").count() == 0


def test_an_article_that_is_too_much_is_shown_as_it_was_written(press: Press, watched: Watched) -> None:
    content_id, page = press.article("heavy")["content_id"], watched.page
    press.changed(content_id, body=HUGE, html_body="<div>" * 50_000)
    page.goto(f"/review/{content_id}")
    usable(page)
    expect(page.locator(".article")).to_contain_text(HUGE[:200])
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the whole text").click()
    assert download.value.path().read_text() == HUGE
    page.goto(f"/contents/{content_id}")
    page.locator(".own-html summary").click()
    expect(page.frame_locator("iframe").locator("pre")).to_contain_text("<div><div>")


def test_what_turns_text_is_shown_by_its_number(press: Press, watched: Watched) -> None:
    content_id, page = press.article("turned")["content_id"], watched.page
    press.changed(content_id, title="a \u202egnp.exe", body="see \u202egnp.exe")
    page.goto(f"/review/{content_id}")
    expect(page.locator(".paper h2")).to_have_text("a ⟦U+202E⟧gnp.exe")
    expect(page.locator(".article")).to_have_text("see ⟦U+202E⟧gnp.exe")
