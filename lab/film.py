"""`python -m lab.film`: an editor's and an operator's hour at the console, as pictures with a sentence each.

Writes lab/results/images/film-*.jpg, and the list of them in lab/results/console.md. It needs Chromium and a font with
Chinese characters. Another run draws the same, but for times, ids and the version.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from contentgen import ContentGenerationClient
from contentgen.stack.processes import Interrupts, status_of
from contentgen.stack.services import WORKERS, environment, throwaway_folder
from lab.pictures import LIMIT, SETTINGS, NamedStack, fill, fill_hours

RESULTS = Path(__file__).parent / "results"
_LIST = re.compile(r"(?<=<!-- the film: python -m lab.film -->\n).*?(?=<!-- the end of the film -->)", re.DOTALL)
DESK, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=390, height=844)


class Shot(NamedTuple):
    """`look`: language, theme, size. `then`: what is done on the page before it is drawn."""

    look: str
    path: str
    sentence: str
    then: Callable[[Page], Any] = lambda page: None


def key(*names: str) -> Callable[[Page], None]:
    def press(page: Page) -> None:
        for name in names:
            page.keyboard.press(name)
            page.wait_for_timeout(500)

    return press


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('main details').forEach(it => it.toggleAttribute('open', true))")


def to(selector: str) -> Callable[[Page], None]:
    return lambda page: page.locator(selector).first.scroll_into_view_if_needed()


def shots(pages: dict[str, str]) -> Iterator[Shot]:
    """Yields the hour: first the editor's, in Chinese, then the operator's."""
    article, calendar = pages["article"], pages["pool-calendar"]
    yield Shot("zh light desk", "/", "The overview says at once that something is wrong, what, and where to mend it.")
    yield Shot("zh light desk", "/review", "The desk opens the next article, with what waits beside it and its brief.")
    yield Shot("zh light desk", "/review", "`?` shows the keys.", key("?"))
    yield Shot("zh light desk", "/review", "X ticks an article, J goes on, and the tick stays.", key("x", "j", "x"))
    yield Shot("zh light desk", "/review", "B sends an article back with a note.", key("b"))
    yield Shot("zh light desk", "/review", "S approves for a time: this evening, tomorrow, Monday, or any.", key("s"))
    yield Shot("zh light desk", "/review", "A approves; for 10 seconds Z takes it back.", key("a"))
    yield Shot("zh dark desk", "/review", "The desk in the dark.")
    yield Shot("zh light phone", "/review", "The desk on a phone: what one does is at the thumb.")
    yield Shot("zh light desk", "/contents", "Contents by account, with state, assignee and score.")
    yield Shot("zh light desk", "/contents?query=ＡＩ&bodies=yes", "Words are found in the text, too, in any width.")
    yield Shot("zh light desk", article, "An article with what belongs to it.")
    yield Shot("zh light desk", article, "Its history: revisions, comments, who is to review it, when.", to("#history"))
    yield Shot("zh light desk", f"{article}/edit", "The editor begins at the title; the preview follows.")
    yield Shot("zh dark desk", f"{article}/edit", "The editor in the dark.")
    yield Shot("zh light phone", article, "The article on a phone.")
    yield Shot("zh light desk", "/pool", "The publish pool, in the order in which publishers get it.")
    yield Shot("zh light desk", calendar, "The calendar, coloured by account, with a tray of what has no time.")
    yield Shot("zh light phone", "/pool", "The pool on a phone: a card for each entry.")
    yield Shot("zh light desk", "/schedules", "Schedules say in words when they run.")
    yield Shot("zh light desk", "/schedules/1", "One schedule with its next runs and the tasks that it made.")
    yield Shot("zh light desk", "/new", "A new task: the account by name, the default for reviews is said.")
    yield Shot("zh light desk", "/new/many", "Many tasks by a sheet, pasted or uploaded.")
    yield Shot("zh light desk", "/notifications", "Messages to chats and mail.")
    yield Shot("zh light desk", "/notifications/new", "What is told, to whom, when not, and how much at once.")
    yield Shot("en light desk", "/", "The operator's overview, in English.")
    yield Shot("en dark desk", "/", "The same in the dark.")
    yield Shot("en light phone", "/", "The same on a phone.")
    yield Shot("en light desk", "/tasks", "Tasks with counts by state, filters in one line.")
    yield Shot("en light desk", "/tasks?status=failed", "Failures by cause, each with a button that retries them.")
    yield Shot("en light phone", "/tasks", "Tasks on a phone.")
    yield Shot("en light desk", pages["running"], "A running attempt, with what its CLI prints now.")
    yield Shot("en light desk", pages["tasks-one"], "A task that was retried: its attempts and waits on one line.")
    yield Shot("en light desk", pages["waiting"], "Why a task waits, and what to do about it.")
    yield Shot("en light desk", "/workers", "Workers, what they run, and the schedulers.")
    yield Shot("en light desk", "/accounts", "Accounts with limits, backlog and state.")
    yield Shot("en light desk", pages["webhook"], "A webhook that fails: one button sends all failed ones again.")
    yield Shot("en light desk", "/audit", "Who did what.")
    yield Shot("en light desk", "/nowhere", "An address that leads nowhere still has the navigation.")
    yield Shot("zh light desk", "/design", "The design, on a page of its own for developers.")


def fill_more(client: ContentGenerationClient, pages: dict[str, str]) -> dict[str, str]:
    """Adds what editors and operators do."""
    accounts = [account["account_id"] for account in client.iter_accounts()]
    content = next(client.iter_contents(review_status="pending_review"))
    content_id = content["content_id"]
    client.update_content(content_id, title=f"{content['title']}（修订）", etag=content["etag"])
    client.add_comment(content_id, "第二段的数字请再核对一下。")
    client.assign_review(content_id, "小李")
    client.create_schedule(accounts[1], "0 9 * * 1-5/2", {"topic": "科技早报"}, time_zone="Asia/Shanghai")
    client.run_schedule(1)
    told: list[Any] = ["content.pending_review", "task.failed"]
    client.create_channel("feishu://0123456789abcdef", told, description="编辑部飞书群")
    webhook = client.create_webhook("https://127.0.0.1:9/hook", ["task.ended"])
    client.ping_webhook(webhook["webhook_id"])
    submit = client.submit_task
    for topic in ("城市夜跑路线", "周末短途旅行"):
        client.wait(submit(accounts[2], topic, auto_retry=False, creator_options={"demo-fail": "exit"}), LIMIT)
    waiting = submit(accounts[1], "年终盘点：十个关键词", schedule_time="2099-01-01T01:00:00Z")
    running = submit(accounts[1], "一座城市的更新", priority=10, creator_options={"demo-seconds": "600"})
    return {
        **pages,
        "article": f"/contents/{content_id}",
        "webhook": f"/webhooks/{webhook['webhook_id']}",
        "waiting": f"/tasks/{waiting}",
        "running": f"/tasks/{running}",
    }


def main(interrupts: Interrupts) -> None:
    own = {"CONTENTGEN_SLOTS": "3", "CONTENTGEN_CONSOLE_DESIGN": "on", "CONTENTGEN_WEBHOOK_ALLOW": "127.0.0.0/8"}
    settings = {**SETTINGS, **own}
    with (
        throwaway_folder("film") as folder,
        NamedStack({**environment(folder), **settings}, folder / "logs", 0.0, interrupts) as stack,
        ContentGenerationClient(stack.target) as client,
    ):
        pool = client.get_worker_pool_status
        stack.until(lambda: pool()["num_workers"] == WORKERS, within=LIMIT, what="the workers are connected")
        fill_hours(folder / "data" / "postgres" / "data" / "postmaster.pid")
        pages = fill_more(client, fill(client))
        interrupts.pause(3)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            lines = [*draw(browser, stack.console, pages)]
            browser.close()
    page = RESULTS / "console.md"
    page.write_text(_LIST.sub("\n".join(lines) + "\n", page.read_text(encoding="utf-8")), encoding="utf-8")


def draw(browser: Browser, url: str, pages: dict[str, str]) -> Iterator[str]:
    """Draws each picture, and yields its line of the list."""
    contexts: dict[str, BrowserContext] = {}
    for number, shot in enumerate(shots(pages), 1):
        if shot.look not in contexts:
            contexts[shot.look] = opened(browser, url, *shot.look.split())
        page = contexts[shot.look].new_page()
        page.goto(shot.path)
        page.wait_for_timeout(800)  # plots and streams come after the page
        shot.then(page)
        page.wait_for_timeout(300)
        name = f"images/film-{number:02}.jpg"
        page.screenshot(path=RESULTS / name, type="jpeg", quality=55)
        page.close()
        yield f"{number}. {shot.sentence} ({', '.join(shot.look.split())})\n\n   ![{number}]({name})\n"


def opened(browser: Browser, url: str, language: str, theme: str, size: str) -> BrowserContext:
    return browser.new_context(
        base_url=url,
        viewport=PHONE if size == "phone" else DESK,
        locale={"zh": "zh-CN", "en": "en-GB"}[language],
        color_scheme="dark" if theme == "dark" else "light",
        timezone_id="Asia/Shanghai",
    )


if __name__ == "__main__":
    raise SystemExit(status_of("film", main))
