"""Every page of the navigation and every kind of page behind it: both languages, both sizes, light and dark.

`--screenshots FOLDER` keeps what was seen, which is where the pictures of docs/console.md come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, ViewportSize

from tests.console.conftest import DESKTOP, PHONE, Place, page_at, sign_in

SENTENCE = re.compile(r"\b[A-Za-z]+(?:[ ,]+[A-Za-z]+){3,}")
"""Four English words in a row: on a Chinese page nobody has translated them."""


@dataclass(frozen=True)
class Look:
    """A language, and the sizes in which each page is seen: it is loaded in the first one, and resized."""

    language: str
    sizes: Mapping[str, ViewportSize]
    """By the names of their pictures. The rules of accessibility are tried in the first one."""
    dark: bool = False
    rules: Sequence[str] = ()
    """Those of accessibility that are tried: all, if there are none."""


LOOKS = (
    Look("en", {"en": DESKTOP, "en-phone": PHONE}),
    Look(
        "zh-CN",
        {"zh-phone": PHONE, "zh": DESKTOP},
        dark=True,
        rules=("color-contrast", "html-lang-valid", "valid-lang", "scrollable-region-focusable", "target-size"),
    ),
)
"""The second one tries what colours, size or language decide: the structure is the same."""
AXE = """
    options => axe.run(options).then(({violations}) => violations
        .filter(({impact}) => impact === "serious" || impact === "critical")
        .map(({id, help, nodes}) => `${id}: ${help} (${nodes.slice(0, 3).map(it => it.target).join(", ")})`))
"""
"""Returns what is wrong alone: what is right is much, and costs much to hand over."""


@pytest.fixture(scope="module")
def furnished(fresh_place: Place) -> Place:
    """A place where something is on every page."""
    client, account = fresh_place.client, fresh_place.account
    done = client.submit_task(account_id=account, topic="春天的第一杯咖啡", category="生活", keywords="咖啡,春天")
    kept = client.submit_task(account_id=account, topic="人工智能的未来发展", auto_approve=False, priority=8)
    bad = {"demo-fail": "exit"}
    lost = client.submit_task(account_id=account, topic="坏掉的任务", creator_options=bad, auto_retry=False)
    client.submit_task(account_id=account, topic="新年快乐", schedule_time="2099-12-31T23:00:00Z")
    for task_id in (done, kept, lost):
        client.wait(task_id, 60)
    client.create_schedule(account, "0 8 * * 1-5", {"topic": "每日新闻"}, time_zone="Asia/Shanghai")
    client.create_webhook("https://news.example/hook", ["task.ended"])
    for entry in client.iter_publish_pool():
        client.update_publish_pool_entry(entry["content_id"], schedule_time=datetime.now(UTC) + timedelta(hours=1))
    return fresh_place


@pytest.fixture(scope="module")
def addresses(furnished: Place) -> list[str]:
    """Those of the navigation, and one of each kind that lists lead to."""
    client = furnished.client
    navigation = furnished.visitor().get("/").text.partition("<nav")[2].partition("</nav>")[0]
    content_id = next(client.iter_contents(review_status="pending_review"))["content_id"]
    (entry, *_) = client.iter_publish_pool()
    return [
        *re.findall(r'href="([^"]+)"', navigation),
        *("/accounts/new", f"/accounts/{furnished.account}", f"/accounts/{furnished.account}/edit"),
        *(f"/review/{content_id}", f"/contents/{content_id}", f"/contents/{content_id}/edit"),
        *(f"/tasks/{it['task_id']}" for it in client.list_tasks() if it["status"] in {"completed", "failed"}),
        *(f"/pool/{entry['content_id']}", "/pool/calendar", "/pool/calendar?week=2031-W22"),
        *("/schedules/1", "/schedules/new", "/webhooks/1", "/webhooks/new", "/new/many"),
    ]


@pytest.mark.costly("a browser loads and judges every page")
@pytest.mark.parametrize("look", LOOKS, ids=lambda it: it.language)
def test_every_page_is_fit_to_look_at(
    furnished: Place, addresses: list[str], chromium: Browser, look: Look, pytestconfig: pytest.Config
) -> None:
    problems: list[str] = []
    folder = pytestconfig.getoption("--screenshots")
    with page_at(furnished, chromium, dark=look.dark) as page:
        page.add_init_script(AXE_SCRIPT)
        sign_in(page)
        page.goto(f"/language/{look.language}")
        assert len(addresses) > 15
        for path in addresses:
            for number, (name, size) in enumerate(look.sizes.items()):
                page.set_viewport_size(size)
                if number == 0:
                    page.goto(path)
                    problems += [f"{path}: {problem}" for problem in inaccessible(page, look.rules)]
                problems += [f"{path}, {name}: {problem}" for problem in seen(page, look)]
                if folder:
                    Path(folder, f"{picture_of(path)}-{name}.png").write_bytes(page.screenshot())
    assert problems == []


def picture_of(path: str) -> str:
    name = re.sub(r"=.*", "", re.sub(r"/(?:task-)?\w*\d\w*", "-one", path)).strip("/")
    return re.sub(r"[/?]", "-", name) or "overview"


def inaccessible(page: Page, rules: Sequence[str]) -> list[str]:
    """What breaks one of these rules of accessibility, or any of them, so that it matters."""
    chosen = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    found: list[str] = page.evaluate(AXE, {"resultTypes": ["violations"], **chosen})
    return found


def seen(page: Page, look: Look) -> Iterator[str]:
    """What is wrong with a page in its size."""
    if page.locator("h1").count() != 1:
        yield f"it has {page.locator('h1').count()} main headings"
    if page.locator("html").get_attribute("lang") != look.language:
        yield "it is in the other language"
    if (beyond := page.evaluate("document.documentElement.scrollWidth - window.innerWidth")) > 0:
        yield f"it is {beyond} pixels wider than the window"
    if look.language != "en":
        yield from untranslated(page)


def untranslated(page: Page) -> Iterator[str]:
    """English on a Chinese page. Commands, code and what the API says stay as they are."""
    text = page.evaluate(
        """() => {
            const copy = document.body.cloneNode(true);
            for (const it of copy.querySelectorAll("code, pre, script, [translate=no], [lang=en]")) it.remove();
            document.body.append(copy);
            const text = copy.innerText;
            copy.remove();
            return text;
        }"""
    )
    for found in SENTENCE.findall(text):
        yield f"nobody has translated {found!r}"
