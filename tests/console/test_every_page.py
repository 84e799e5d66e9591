"""Every page of the navigation and every kind of page behind it: both languages, both sizes, light and dark."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, ViewportSize

from console_svc.app import STATIC
from tests.console.conftest import DESKTOP, PHONE, REVIEWER, Place, page_at

pytestmark = pytest.mark.browser

WORD = re.compile(r"(?<![\w./:=-])[A-Za-z][A-Za-z_-]+(?![\w./:=-]|\.\w)", re.ASCII)
QUOTED = re.compile("“[^”]*”")
NAMES = {
    "CNY",
    *("API", "CLI", "CONTENTGEN_TOKEN", "CREATOR_INVALID_RESPONSE", "CSV", "English", "GB", "GBK", "HTML", "IANA"),
    *("ID", "MB", "MiB", "MON-FRI", "PostgreSQL", "Shift", "Slack", "Teams", "UTC", "UTF-8", "Webhook"),
    *("contentgen", "cron", "http", "https", "newcomer", "operator", "press"),
}
"""What is called so in Chinese, too: names, abbreviations, keys, and the place's accounts and tokens."""


@dataclass(frozen=True)
class Look:
    """A language, and the sizes in which each page is seen."""

    language: str
    sizes: Mapping[str, ViewportSize]
    dark: bool = False


ENGLISH = Look("en", {"en-phone": PHONE, "en": DESKTOP})
CHINESE = Look("zh-CN", {"zh-phone": PHONE, "zh": DESKTOP}, dark=True)
TEXTS, GROUNDS = ("ink", "hint", "link", "good", "bad", "busy"), ("paper", "ground", "soft")
TINTED = ("link", "good", "bad", "busy")
"""Each has a tint of its own, on which the dot and the word of a state stand."""
ENOUGH_CONTRAST = 4.5
KNOWN_COLOUR = (
    r"var\(--\w+\)|inherit|none|transparent|currentcolor|rgb\(0 0 0 / \d+%\)"
    r"|color-mix\(in srgb, var\(--\w+\) \d+%, transparent\)"
)
AXE = """
    options => axe.run(options).then(({violations}) => violations
        .map(({id, help, nodes}) => `${id}: ${help} (${nodes.slice(0, 3).map(it => it.target).join(", ")})`))
"""
"""Returns what is wrong alone: what is right is much, and costs much to hand over."""
SHOW = """
    async path => {
        const answer = await fetch(path);
        if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
        const {documentElement: root} = new DOMParser().parseFromString(await answer.text(), "text/html");
        const sheets = [...root.querySelectorAll("link[rel=stylesheet]")];
        const styled = sheets.map(it => new Promise((good, bad) => Object.assign(it, {onload: good, onerror: bad})));
        document.replaceChild(root, document.documentElement);
        await Promise.all(styled);
        document.dispatchEvent(new Event("htmx:after:swap"));
    }
"""
"""Gives the page the content and the styles of another one, as its scripts do when the server has news."""


BAD_FILTERS = {
    "/audit?account=one&from=soon&actor=a&method=no": (
        'id="bad-account"',
        'id="bad-from"',
        'value="soon"',
        'value="a"',
    ),
    "/audit?before=x": (),
    "/pool?account=one&from=tomorrow&to=2031-05-07": (
        'value="one" aria-invalid="true"',
        'value="tomorrow" aria-invalid="true"',
        'value="2031-05-07"',
    ),
    **{
        f"/contents?{condition}&query=kept": ('value="kept"', "")
        for condition in ("account=x", "score=high", "label=nothing", "before=yesterday", "account=0")
    },
    "/review?account=x": ("No account has this name", 'value="x"'),
    "/review?score=x": ("A score is a number.", 'value="x"'),
    "/review?label=x": ("A label is a key and a value", 'value="x"'),
    "/schedules?account=one": (),
    "/webhooks?account=one": (),
    "/webhooks/1?status=lost": ("There is no such state: lost.",),
    "/tasks?account=one&label=colour&after=soon&topic=kept+words": (
        *(f'id="problem-{name}"' for name in ("account", "label", "after")),
        'value="kept words"',
    ),
}


BAD_FORMS = {
    "/schedules/new": {"topic": "x", "cron": "0 25 * * *", "time_zone": "Mars/Olympus"},
    "/webhooks/new": {"url": "https://user:secret@news.example/", "event_types": "task.ended"},
    "/accounts/new": {"name": "x" * 300, "max_priority": "1000"},
    "/contents/1/edit": {"title": "x" * 3_000},
}
"""What the console leaves to the schedulers to refuse."""


@pytest.fixture(scope="module")
def furnished(fresh_place: Place) -> Place:
    """A place where something is on every page."""
    client = fresh_place.client
    completed_task = fresh_place.submit("春天的第一杯咖啡", category="生活", keywords="咖啡,春天")
    reviewed_task = fresh_place.submit("人工智能的未来发展", auto_approve=False, priority=8)
    failed_task = fresh_place.submit("坏掉的任务", creator_options={"demo-fail": "exit"}, auto_retry=False)
    fresh_place.submit("新年快乐", schedule_time="2099-12-31T23:00:00Z")
    for task_id in (completed_task, reviewed_task, failed_task):
        client.wait(task_id, 60)
    client.create_schedule(fresh_place.account, "0 8 * * 1-5", {"topic": "每日新闻"}, time_zone="Asia/Shanghai")
    client.create_webhook("https://news.example/hook", ["task.ended"])
    client.create_channel("feishu://0123456789abcdef", ["task.failed"], quiet_hours="22:00-08:00 Asia/Shanghai")
    for entry in client.iter_publish_pool():
        client.update_publish_pool_entry(entry["content_id"], schedule_time=datetime.now(UTC) + timedelta(hours=1))
    return fresh_place


@pytest.fixture(scope="module")
def addresses(furnished: Place) -> list[str]:
    """Returns the addresses of the navigation, and one of each kind that lists lead to."""
    client = furnished.client
    navigation = furnished.visitor().get("/").text.partition("<nav")[2].partition("</nav>")[0]
    content_id = next(client.iter_contents(review_status="pending_review"))["content_id"]
    tasks = {task["status"]: task["task_id"] for task in client.list_tasks()}
    (entry, *_) = client.iter_publish_pool()
    links = re.findall(r'href="([^"]+)"', navigation)
    assert len(links) > 8
    return [
        *links,
        *("/accounts/new", f"/accounts/{furnished.account}", f"/accounts/{furnished.account}/edit"),
        *(f"/review/{content_id}", f"/contents/{content_id}", f"/contents/{content_id}/edit"),
        *(f"/tasks/{task_id}" for state, task_id in tasks.items() if state in {"completed", "failed"}),
        *(f"/pool/{entry['content_id']}", "/pool/calendar", "/pool/calendar?week=2031-W22"),
        *("/schedules/1", "/schedules/new", "/webhooks/1", "/webhooks/new", "/new/many", "/design"),
        *("/notifications/2", "/notifications/new"),
    ]


@pytest.mark.costly("a browser loads and judges every page", seconds=19)
def test_every_page_is_fit_to_look_at_and_accessible(furnished: Place, addresses: list[str], chromium: Browser) -> None:
    """The rules are tried on a phone, which is narrow, and in English, for no language decides what they find."""
    problems: list[str] = []
    with page_at(furnished, chromium) as page:
        page.add_init_script(AXE_SCRIPT)
        for path in [*addresses, "/nowhere"]:
            page.set_viewport_size(PHONE)
            page.goto(path)
            problems += [f"{path}: {problem}" for problem in inaccessible(page)]
            problems += [f"{path}, {problem}" for problem in seen(page, ENGLISH)]
    assert problems == []


@pytest.mark.costly("a browser shows and judges every page", seconds=5)
def test_every_page_is_fit_to_look_at_in_chinese(furnished: Place, addresses: list[str], chromium: Browser) -> None:
    """All scripts run, and all rules are tried, in the English test. Here one page is given the content of all.

    That colours stand out in the dark too, the colours themselves show.
    """
    problems: list[str] = []
    with page_at(furnished, chromium, dark=CHINESE.dark) as page:
        page.goto(f"/language/{CHINESE.language}")
        for path in addresses:
            page.set_viewport_size(PHONE)
            page.evaluate(SHOW, path)
            problems += [f"{path}, {problem}" for problem in seen(page, CHINESE)]
            problems += [f"{path}: {problem}" for problem in untranslated(page)]
    assert not problems, "\n".join(problems)


def test_a_bad_filter_is_named_beside_its_field_and_what_was_typed_stays(furnished: Place) -> None:
    visitor = furnished.visitor()
    for path, texts in BAD_FILTERS.items():
        answer = visitor.get(path)
        assert answer.status == 400, path
        assert [text for text in texts if text not in answer.text] == [], path


def test_what_the_schedulers_refuse_is_said_in_chinese(furnished: Place) -> None:
    visitor, account = furnished.visitor(), {"account": str(furnished.account), "account_id": str(furnished.account)}
    problems: set[str] = set()
    for path, fields in BAD_FORMS.items():
        answer = visitor.post(path, {**visitor.get(path).hidden(), **account, **fields}, Accept_Language="zh-CN")
        found = re.findall(r'class="problem"[^>]*>([^<]*[^<\s])', answer.says(status=400).text)
        assert len(found) > 1, path
        problems |= {*found}
    english = [problem for problem in problems if {*WORD.findall(html.unescape(problem))} - NAMES]
    assert not english, "\n".join(english)


def test_an_address_says_which_of_its_filters_its_page_does_not_know(furnished: Place) -> None:
    visitor = furnished.visitor()
    for path in (
        *("/tasks?status=boiled", "/contents?review=x", "/pool?state=x", "/audit?colour=red", "/accounts?id=1"),
        *("/review?colour=red", "/review?category=no-such&colour=red"),
    ):
        visitor.get(path).says("This page knows no such filter:", path.rpartition("=")[0][-5:], status=400)
    visitor.get("/review?decided=1&until=1").lacks("knows no such filter")


def test_what_a_filter_has_set_is_taken_away_by_its_chip(furnished: Place) -> None:
    page = furnished.visitor().get("/tasks?status=failed&status=timeout&topic=kept")
    page.says('href="/tasks?status=timeout&amp;topic=kept"', 'href="/tasks?status=failed&amp;status=timeout"')


def test_what_is_not_found_or_not_allowed_is_a_page_with_navigation(furnished: Place) -> None:
    furnished.visitor().get("/nowhere").says("There is no such page.", "<nav", status=404)
    furnished.visitor().get("/tasks/task-0000000000000000", Accept_Language="zh-CN").says("找不到", "<nav", status=404)
    furnished.visitor(REVIEWER).get("/workers").says("You may not do this", "<nav", status=403)


def test_each_page_says_what_is_paused_and_where_articles_wait(furnished: Place) -> None:
    visitor = furnished.visitor()
    visitor.get("/workers").says('<span class="count">1<')
    visitor.post("/workers/pause", {"account": str(furnished.account)}).says('class="banner"')
    for path in ("/", "/tasks", "/contents", "/nowhere"):
        visitor.get(path).says('class="banner"', "Account press is paused.")
    visitor.post("/workers/resume", {"account": str(furnished.account)}).lacks('class="banner"')


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_each_colour_of_texts_stands_out_from_each_ground(theme: int) -> None:
    themes = re.findall(r":root \{(.*?)\}", (STATIC / "console.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--(\w+): #(\w{6});", themes[theme]))
    tints = [(text, f"{text}tint") for text in TINTED]
    assert {*colours} == {*TEXTS, *GROUNDS, *(tint for _, tint in tints), "line", "edge"}
    for text, ground in [*product(TEXTS, GROUNDS), *tints]:
        assert contrast(colours[text], colours[ground]) >= ENOUGH_CONTRAST, (text, ground)


def test_no_stylesheet_has_another_colour() -> None:
    """So what stands out on a page in one theme does in the other. Shadows and veils are black."""
    colour = r"(?<![\w-])(?:color|background(?:-color)?|fill|stroke): *([^;}]+)"
    others = {
        (path.name, rest)
        for path in STATIC.glob("*.css")
        for value in re.findall(colour, path.read_text())
        if (rest := re.sub(KNOWN_COLOUR, "", value).strip())
    }
    assert others == set()


def contrast(text_colour: str, ground_colour: str) -> float:
    """Returns the contrast of two colours by WCAG 2, from 1 to 21."""
    dark, light = sorted((luminance(text_colour), luminance(ground_colour)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [part / 255 for part in bytes.fromhex(colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def inaccessible(page: Page) -> list[str]:
    """Lists the violations of accessibility that matter."""
    violations: list[str] = page.evaluate(AXE, {"resultTypes": ["violations"], "preload": False})
    return violations


def seen(page: Page, look: Look) -> Iterator[str]:
    """What is wrong with a page in each size."""
    headings, language = page.evaluate("[document.querySelectorAll('h1').length, document.documentElement.lang]")
    if headings != 1:
        yield f"{look.language}: it has {headings} main headings"
    if language != look.language:
        yield f"{look.language}: it is in the other language"
    for name, size in look.sizes.items():
        page.set_viewport_size(size)
        if (beyond := page.evaluate("document.documentElement.scrollWidth - window.innerWidth")) > 0:
            yield f"{name}: it is {beyond} pixels wider than the window"


def untranslated(page: Page) -> Iterator[str]:
    """English on a Chinese page. Commands, code and what users have typed stay as they are."""
    text = page.evaluate(
        """() => {
            const copy = document.body.cloneNode(true);
            const own = "code, pre, kbd, script, datalist, textarea, [translate=no], [lang=en], .article, .difference";
            for (const it of copy.querySelectorAll(own)) it.remove();
            const names = ["aria-label", "placeholder", "alt", "data-confirm"];
            const attributes = [...copy.querySelectorAll("*")].flatMap(it => names.map(name => it.getAttribute(name)));
            return [document.title, copy.textContent, ...attributes].join(" ");
        }"""
    )
    for word in sorted({*WORD.findall(QUOTED.sub("", text))} - NAMES):
        yield f"nobody has translated {word!r}"
