"""The overview, and the texts of all pages in both languages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from babel.messages.catalog import Catalog
from jinja2.runtime import Context
from playwright.sync_api import Page, expect

from console_svc.overview.diagnosis import FRESH
from console_svc.web.language import ENGLISH, ZH, Texts, plural, refused
from console_svc.web.rendering import ago, length_of_time
from contentgen import RequestError
from tests.console.conftest import REVIEWER, VIEWER, Place
from tests.harness.console import Visitor
from tests.harness.waiting import wait_until
from verification.generated import texts as generated

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("fresh_place")]

EXAMINED = FRESH + 10
"""Seconds within which a page shows a change from outside of the console, which keeps its findings for a while."""


# The overview: figures, plots, what needs somebody, the moves of tasks.


def test_figures_plots_and_an_open_table_stay_fresh_while_tasks_move(place: Place, page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="7 days").click()
    expect(page.locator("#feed .empty")).to_be_visible()
    rows = page.locator("table.history tbody tr")
    expect(rows).to_have_count(7)
    page.get_by_text("As a table").click()
    cell = rows.last.locator("td").first
    count = int(cell.get_attribute("data-value") or "")
    task_id = place.submit("seen at once")
    moves = page.locator("#feed li", has_text="seen at once")
    expect(moves.first).to_contain_text("completed")
    expect(moves.first.get_by_role("link")).to_have_attribute("href", f"/tasks/{task_id}")
    expect(cell).to_have_attribute("data-value", str(count + 1))
    expect(page.locator(".cards")).to_contain_text("100 % success today")
    for plot in ("counts", "durations"):
        expect(page.locator(f"#plot-{plot} canvas")).to_be_visible()
    expect(page.get_by_role("table")).to_be_visible()
    expect(page).to_have_url(f"{place.console.url}/?span=7d")


def test_each_span_has_its_hours_or_days(operator: Visitor) -> None:
    for span, rows in (("1h", 2), ("24h", 24), ("7d", 7), ("30d", 30), ("nonsense", 24)):
        assert operator.get(f"/?span={span}").text.count('<th scope="row">') == rows


def test_the_verdict_names_what_is_wrong_with_what_mends_it(place: Place, operator: Visitor) -> None:
    wait_until(lambda: "All is well" in operator.get("/").text, within=EXAMINED, what="all is well")
    operator.get("/", **{"Accept-Language": "zh-CN"}).says("一切正常")
    place.article("to be read")
    place.visitor(REVIEWER).get("/").says("</b> to review", "Nothing that you may see is wrong")
    place.client.pause_dispatch()
    place.client.pause_dispatch(place.account)
    page = operator.get("/").lacks("All is well")
    page.says(
        "2 things are wrong", "Everything is paused: no task is handed out.", f"Account {place.account} is paused."
    )
    page.says('action="/workers/resume"', '<input type="hidden" name="account" value="0">')
    operator.post("/workers/resume", {"account": "0"})
    operator.post("/workers/resume", {"account": str(place.account)})
    operator.get("/").says("All is well")


def test_failures_by_cause_webhooks_and_drained_workers_are_part_of_it(place: Place, operator: Visitor) -> None:
    task_id = place.submit("it fails", auto_retry=False, creator_options={"demo-fail": "exit"})
    task = place.client.wait(task_id, timeout=60)
    webhook_id = place.client.create_webhook("https://127.0.0.1:1/", ["task.ended"])["webhook_id"]
    place.client.ping_webhook(webhook_id)
    (worker,) = [status["worker_id"] for status in place.client.get_worker_pool_status()["worker_statuses"]]
    operator.post("/workers/drain", {"worker_id": worker})
    page = operator.get("/")
    page.says(
        f"Webhook {webhook_id} fails.", f'href="/webhooks/{webhook_id}"', f"{worker} is drained: it takes no task."
    )
    page.says("1 task of the last 3 days has failed.", str(task["error_reason"]), "do=retry")
    operator.post("/workers/undrain", {"worker_id": worker})
    place.client.delete_webhook(webhook_id)
    operator.post("/workers/resume", {"account": "0"})
    operator.get("/").lacks("is drained", f"Webhook {webhook_id} fails.")


def test_a_lost_worker_is_found_and_commands_are_for_operators(place: Place, operator: Visitor) -> None:
    place.worker.stop()  # for good: no test after this one needs it
    operator.post("/workers/resume", {"account": "0"})  # after a change what was found before is not shown again
    command = "start contentgen-worker, with CONTENTGEN_SCHEDULER set to this target"
    operator.get("/").says("none is connected", command)
    place.visitor(VIEWER).get("/").says("none is connected", "Tell an operator.").lacks(command)


# The texts of the pages in both languages, and the check that each has its Chinese.


def test_each_text_of_the_pages_has_its_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    assert generated.main([]) == 0, capsys.readouterr().out
    texts = {text.text for text in generated.page_texts()}
    assert {"From day", "Too many tries. Wait a minute.", "its schedule time", "processing"} <= texts


@pytest.mark.parametrize(
    ("english", "chinese", "wrong"),
    [
        ("Save", "", "'Save' has no Chinese"),
        ("Page {n}", "第页", "'Page {n}' and '第页' do not fill in the same"),
        (("{n} task of {m}", "{n} tasks"), ("{n} 个任务",), "'{n} task of {m}' fills in what '{n} tasks' does not"),
    ],
)
def test_wrong_chinese_is_named(english: str | tuple[str, str], chinese: str | tuple[str], wrong: str) -> None:
    catalog = Catalog(locale="zh_CN")
    catalog.add("Close", string="关闭")
    catalog.add(english, string=chinese)
    assert list(generated.problems(catalog)) == [wrong]


def test_a_text_that_is_gone_leaves_the_catalogue_and_a_new_one_enters_it() -> None:
    present = Catalog(locale="zh_CN")
    present.add("Save", string="保存")
    present.add("It was here once", string="曾在此")
    updated = generated.updated(present)
    save, publish = updated.get("Save"), updated.get("Publish again")
    assert save is not None and publish is not None  # noqa: PT018
    assert (save.string, publish.string, updated.get("It was here once")) == ("保存", "", None)
    assert "'Publish again' has no Chinese" in generated.problems(updated)


def test_the_text_of_one_thing_is_not_that_of_several() -> None:
    texts = Texts(ENGLISH)
    assert [texts.counted("{n} task", "{n} tasks", n=n) for n in (0, 1, 2, "1", "100+")] == [
        *("0 tasks", "1 task", "2 tasks", "1 task", "100+ tasks")
    ]
    several = plural("Cancelled {n} task.", "Cancelled {n} tasks.")
    assert (texts(several, n=1), Texts(ZH)(several, n=1)) == ("Cancelled 1 task.", "已取消 1 个任务。")


def test_lengths_and_ages_are_said_in_the_language_of_the_page() -> None:
    english, chinese = ({"_": Texts(language)} for language in (ENGLISH, ZH))
    lengths = [length_of_time(cast("Context", english), seconds) for seconds in (None, 0, 65, 1_800, 7_805, 90_000)]
    assert lengths == ["", "0 s", "1 min 5 s", "30 min", "2 h 10 min", "1 d 1 h"]
    assert length_of_time(cast("Context", chinese), 1_800) == "30 分钟"
    past, future = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (-310, 7_500))
    assert ago(cast("Context", chinese), past.isoformat()) == "5 分钟前"
    assert ago(cast("Context", english), future.isoformat()) == "in 2 h"


def test_a_refusal_is_said_in_both_languages_and_is_no_html() -> None:
    refusal = refused(RequestError("<b> is {full}", code="RESOURCE_EXHAUSTED", reason="QUEUE_FULL"))
    assert Texts(ENGLISH)(refusal) == "<b> is {full}"
    chinese = '<span title="&lt;b&gt; is {full}">队列已满，请稍后再试。</span>'
    assert Texts(ZH)(refusal) == chinese
    assert Texts(ZH)("It stopped: {why}", why=refusal) == f"已停止：{chinese}"
    assert Texts(ZH)(refused(RequestError("a proxy's", code="UNKNOWN"))) == "a proxy's"
