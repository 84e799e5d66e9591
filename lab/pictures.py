"""`make pictures`: writes docs/images/{console-*.png,top.svg}, of a stack of its own that works for three accounts.

Tasks and articles are real ones, of the demo creator; the plots of the overview show made-up hours. Another run draws
the same, but for times, ids and the version. It needs Chromium and a font with Chinese characters.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from contentgen import ContentGenerationClient
from contentgen.cli.commands import top
from contentgen.cli.connection import Connection, target_of
from contentgen.stack.processes import Interrupts, Service, status_of
from contentgen.stack.services import WORKERS, Stack, environment, throwaway_folder
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.rollup import SUBMITTED, bucket

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SETTINGS = {"CREATOR_DEMO_SECONDS": "0.8", "CONTENTGEN_SLOTS": "2", "OTEL_SDK_DISABLED": "true"}
LIMIT = 60.0
ACCOUNTS = ("科技周刊", "城市生活", "晨报")
POOLED = (
    *("人工智能的未来发展", "老城区的咖啡地图", "量子计算离我们还有多远", "周末去哪儿：三条城市步道"),
    *("一日三餐里的营养学", "夏天防晒的五个误区", "家庭理财的第一步", "地铁新线沿线的美食"),
)
REVIEWED = ("春天的第一杯咖啡", "如何读懂一份体检报告", "芯片为什么越做越小", "租房合同里要看的七个地方")
RUNNING = ("秋季穿搭：三种颜色就够了", "睡眠与记忆力", "入门级相机怎么选", "小户型收纳的九个办法", "露营装备清单")
_INSERT = (
    "INSERT INTO rollup_deltas (account_id, hour, kinds, numbers) VALUES (1, date_trunc('hour', now()) - %s, %s, %s)"
)


class NamedStack(Stack):
    def _service(self, name: str, program: str, settings: Mapping[str, str]) -> Service:
        named = {"CONTENTGEN_WORKER_ID": name} if name.startswith("worker") else {}
        return super()._service(name, program, {**settings, **named})


def main(interrupts: Interrupts) -> None:
    if not subprocess.run(["fc-list", ":lang=zh"], capture_output=True, check=True).stdout:
        raise SystemExit("no font has Chinese characters (Debian: apt install fonts-noto-cjk)")
    with (
        throwaway_folder("pictures") as folder,
        NamedStack({**environment(folder), **SETTINGS}, folder / "logs", 0.0, interrupts) as stack,
        ContentGenerationClient(stack.target) as client,
    ):
        pool = client.get_worker_pool_status
        stack.until(lambda: pool()["num_workers"] == WORKERS, within=LIMIT, what="the workers are connected")
        fill_hours(folder / "data" / "postgres" / "data" / "postmaster.pid")
        connection = Connection(target_of({"CONTENTGEN_SCHEDULER": stack.target}))
        before = top.read(connection, 0)
        pages = fill(client)
        interrupts.pause(15)  # some progress
        draw_top(before, top.read(connection, 0))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for locale in ("en-GB", "zh-CN"):
                draw_console(browser, stack.console, locale, pages)
            browser.close()


def fill_hours(server: Path) -> None:
    """Makes up what the last day's hours were like."""
    folder = server.read_text().splitlines()[4]
    connection = psycopg2.connect(host=folder, user="contentgen", dbname="contentgen")
    with connection, connection.cursor() as cursor:
        for hour in range(24):
            tasks = 6 + hour * 7 % 5 + 3 * abs(12 - hour)
            numbers = {SUBMITTED: tasks + hour % 3, Status.COMPLETED: tasks - hour % 2, Status.FAILED: hour % 2}
            numbers |= {bucket(60 + 3 * tasks): tasks, bucket(180 + 5 * tasks): tasks // 12 + 1}
            cursor.execute(_INSERT, (timedelta(hours=hour), [int(kind) for kind in numbers], [*numbers.values()]))
    connection.close()


def fill(client: ContentGenerationClient) -> dict[str, str]:
    """Lets tasks end, fail, run and wait; returns the path of each picture's page."""
    accounts = [client.create_account(name)["account_id"] for name in ACCOUNTS]

    def submit(*topics: str, ends: bool = True, **fields: Any) -> str:
        """Submits tasks, one after the other if they end. Returns the id of the last."""
        for n, topic in enumerate(topics):
            task_id = client.submit_task(accounts[n % 3], topic, **fields)
            if ends:
                client.wait(task_id, LIMIT)
        return task_id

    submit("远程办公一年之后", auto_retry=False, creator_options={"demo-fail": "exit"})
    submit(*POOLED, category="专栏")
    submit(*REVIEWED, auto_approve=False, keywords="生活,观察", tone="亲切", requirements="八百字，三个小标题")
    once = {"demo-fail": "exit", "demo-fail-times": "1"}
    retried = submit("新能源汽车的下一个十年", initial_backoff=1, creator_options=once)
    month = (datetime.now(UTC).replace(day=1, hour=1, minute=0) + timedelta(days=32)).replace(day=1)
    for n, entry in enumerate([*client.iter_publish_pool()]):
        time_of_day = timedelta(days=3 + 5 * n % 17, hours=n % 4)
        client.update_publish_pool_entry(entry["content_id"], priority=9 - n % 6, schedule_time=month + time_of_day)
    submit(*RUNNING, ends=False, creator_options={"demo-seconds": "70"})
    content = next(client.iter_contents(review_status="pending_review"))
    return {
        "overview": "/",
        "tasks-one": f"/tasks/{retried}",
        "review-one": f"/review/{content['content_id']}",
        "pool-calendar": f"/pool/calendar?month={month:%Y-%m}",
        "new": "/new",
        "workers": "/workers",
    }


def draw_top(before: top.Reading, after: top.Reading) -> None:
    """Draws a frame of `contentgen top`, on a terminal of 80 columns."""
    terminal = Console(record=True, file=io.StringIO(), width=80, force_terminal=True, highlight=False)
    for line in top.frame(after, top.rates(before, after), 6, 80):
        terminal.print(line, soft_wrap=True)
    svg = terminal.export_svg(title="contentgen top", unique_id="top")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # those of another site
    svg = re.sub(r'textLength="[\d.]+"(?=[^<]*[\u3400-\u9fff])', "", svg)  # it counts wide characters as narrow
    (IMAGES / "top.svg").write_text(svg, encoding="utf-8")


def draw_console(browser: Browser, url: str, locale: str, pages: Mapping[str, str]) -> None:
    page = browser.new_page(base_url=url, timezone_id="Asia/Shanghai", locale=locale)
    for name, path in pages.items():
        phone = "-phone" if name in {"new", "workers"} else ""
        page.set_viewport_size({"width": 390, "height": 844} if phone else {"width": 1280, "height": 800})
        page.goto(path)
        page.evaluate("document.querySelectorAll('.attempt').forEach(attempt => attempt.toggleAttribute('open'))")
        page.wait_for_timeout(1_000)  # plots are drawn after the page
        page.screenshot(path=IMAGES / f"console-{name}-{locale[:2]}{phone}.png")


if __name__ == "__main__":
    raise SystemExit(status_of("pictures", main))
