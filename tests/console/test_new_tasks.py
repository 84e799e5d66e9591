"""New tasks: one by a form, many by a sheet; nothing typed is lost, and nothing is submitted twice."""

from __future__ import annotations

import html
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from console_svc.submits.sheet import decoded, sheet
from console_svc.web.forms import BadValue, Form
from contentgen import Task
from contentgen.submit_fields import BRIEF
from tests.console.conftest import OPERATOR, Place, present
from tests.harness.console import Console, Visitor

pytestmark = pytest.mark.browser

EVERYTHING = {
    **{field.name: f"{field.label}, 春天" for field in BRIEF},
    "requirements": "1. 短\n2. <b>真</b>",
    "priority": "8",
    "auto_approve": "false",
    "schedule_time": "2099-01-31T08:00",
    "zone": "Asia/Shanghai",
    "labels": "campaign=spring\norder=7",
    "creator_options": "demo-seconds=0.1",
    "timeout": "90s",
    "expire_time": "2099-02-01T08:00",
    "max_retries": "1",
    "auto_retry": "false",
    "initial_backoff": "5s",
    "backoff_multiplier": "1.5",
    "max_backoff": "1m",
    "unique_key": "coffee",
    "unique_for": "24h",
}
SHEET = '主题,优先级,标签,计划时间\n表格 一,9,set=a,2099/1/31 8:00\n"表格 二, 带逗号\n和换行",,,\n'


@pytest.fixture(scope="module")
def account(place: Place) -> str:
    return str(place.account)


def tasks_about(place: Place, topic: str) -> list[Task]:
    """Returns the tasks with this text in their topic, the oldest first."""
    return place.client.list_tasks(topic=topic, limit=100)[::-1]


def test_everything_that_a_submit_takes_is_taken(place: Place, operator: Visitor, account: str) -> None:
    form = operator.get("/new").hidden()
    answer = operator.post("/new", {**form, **EVERYTHING, "account_id": account}).says("It is submitted.")
    task = present(place.client.get_task_status(answer.url.rpartition("/")[2]))
    expected_task = {
        **{field.name: EVERYTHING[field.name] for field in BRIEF},
        "priority": 8,
        "auto_approve": False,
        "schedule_time": "2099-01-31T00:00:00+00:00",
        "expire_time": "2099-02-01T00:00:00+00:00",
        "labels": {"campaign": "spring", "order": "7"},
        "timeout": 90.0,
        "max_retries": 1,
        "auto_retry": False,
        "initial_backoff": 5.0,
        "backoff_multiplier": 1.5,
        "max_backoff": 60.0,
        "unique_key": "coffee",
        "unique_for": 86_400.0,
    }
    assert {name: task[name] for name in expected_task} == expected_task  # type: ignore[literal-required]


def test_each_error_is_beside_its_field_and_nothing_typed_is_lost(operator: Visitor, account: str) -> None:
    backoff = {"account_id": account, "initial_backoff": "2h", "max_backoff": "1h"}
    typed = {"topic": " ", "requirements": "kept <words>", "timeout": "soon", "labels": "x", "max_retries": "101"}
    answer = operator.post("/new", {**backoff, **typed}).says(status=400)
    answer.says(*(f'id="problem-{name}"' for name in ("topic", "timeout", "labels", "max_retries")))
    answer.says("kept &lt;words&gt;</textarea>", 'value="soon"')
    for fields, name in ((backoff, "max_backoff"), ({"account_id": "4711"}, "account_id")):  # as the scheduler says
        operator.post("/new", {**fields, "topic": "kept"}).says(f'id="problem-{name}"', "kept</textarea>", status=400)


def test_a_form_that_is_sent_twice_makes_one_task(place: Place, operator: Visitor, account: str) -> None:
    form = {**operator.get("/new").hidden(), "account_id": account, "topic": "only once"}
    assert operator.post("/new", {**form, "topic": ""}).hidden()["key"] == form["key"]  # still the same form
    urls = {operator.post("/new", form).url for _ in range(2)}
    assert len(urls) == 1
    assert operator.post("/new", {**form, "topic": "only once, changed"}).url not in urls
    assert len(tasks_about(place, "only once")) == 2


def test_a_task_is_copied_with_changes(place: Place, operator: Visitor, account: str) -> None:
    brief = {"topic": "to <copy>", "tone": "专业", "requirements": "\none"}
    settings = {"timeout": 600, "labels": {"a": "b"}, "auto_approve": False}
    task: Any = {"account_id": place.account, **brief, **settings}
    (first_id,) = place.client.submit_tasks([task])
    answer = operator.get(f"/new?from={first_id}")
    text = answer.text
    typed = {
        name: html.unescape(value)
        for pattern in (
            r'<input id="field-(\w+)"[^>]* value="([^"]+)"',
            r'<textarea id="field-(\w+)".*?>\n(.*?)</textarea>',
            r'<select id="field-(\w+)"(?:(?!</select>).)*<option(?: value="(\w+)")? selected>',
        )
        for name, value in re.findall(pattern, text, re.DOTALL)
    }
    answer = operator.post("/new", {**answer.hidden(), **typed, "account_id": account, "priority": "9"})
    first_task, task = map(present, place.client.get_task_statuses([first_id, answer.url.rpartition("/")[2]]))
    for name in (*brief, *settings):
        assert task[name] == first_task[name], name  # type: ignore[literal-required]
    assert task["priority"] == 9
    assert operator.get("/new?from=task-ffffffffffffffff").status == 404


@pytest.mark.parametrize(
    ("encoding", "chosen", "name"),
    [
        ("utf-8", "", "UTF-8"),
        ("utf-8-sig", "", "UTF-8"),
        ("gb18030", "", "GB18030 (GBK)"),
        ("utf-16", "", "UTF-16"),
        ("gbk", "GB18030 (GBK)", "GB18030 (GBK)"),
    ],
)
def test_a_spreadsheets_file_is_read_in_its_encoding(encoding: str, chosen: str, name: str) -> None:
    assert decoded(SHEET.encode(encoding), chosen) == (SHEET, name)


def test_a_sheet_is_submitted_with_what_its_rows_leave_empty(place: Place, operator: Visitor, account: str) -> None:
    fields = {"account_id": account, "zone": "Asia/Shanghai", "tone": "专业", "step": "preview"}
    empty = operator.get("/new/many").says('action="/new/many" enctype="multipart/form-data"')
    form = {**empty.says('name="file" type="file"').hidden(), **fields}
    preview = operator.post("/new/many", form, file=SHEET.encode("utf-16"))
    preview.says("2 tasks can be submitted", "The file was read as UTF-16.")
    rows = re.search(r'<textarea id="field-rows".*?>\n(.*?)</textarea>', preview.text, re.DOTALL)
    submit_fields = {**preview.hidden(), **fields, "rows": html.unescape(present(rows)[1]), "step": "submit"}
    assert "Submitted 2 tasks." in operator.post("/new/many", submit_fields).text
    listed = operator.post("/new/many", submit_fields).says("Submitted 2 tasks.")  # once more is nothing more
    first, second = tasks_about(place, "表格")
    of_sheet = second["labels"]
    assert listed.url == f"{operator.url}/tasks?label=sheet%3D{of_sheet['sheet']}"
    assert set(re.findall(r"task-[0-9a-f]{16}", listed.text)) == {first["task_id"], second["task_id"]}
    assert (first["priority"], first["labels"]) == (9, {"set": "a", **of_sheet})
    assert first["schedule_time"] == "2099-01-31T00:00:00+00:00"
    assert second["topic"] == "表格 二, 带逗号\n和换行"
    assert {first["tone"], second["tone"]} == {"专业"}


def test_bad_rows_are_named_and_the_others_submitted(place: Place, operator: Visitor, account: str) -> None:
    rows = "topic\tpriority\towner\nrow good\t3\tme\nrow bad\t11\tme\n\t4\tme\nrow ok\t\t\n"
    key = operator.get("/new/many").hidden()
    preview = operator.post("/new/many", {**key, "account_id": account, "rows": rows, "step": "submit"})
    preview.says("2 tasks can be submitted")  # it was not seen before
    preview.says("2 rows are bad", '<span translate="no">owner</span>')
    bad_row = r'<td class="number">(\d+)</td><td class="topic" translate="no">[^<]*</td><td class="error">'
    assert re.findall(bad_row, preview.text) == ["3", "4"]
    assert tasks_about(place, "row ") == []
    form = {**preview.hidden(), "account_id": account, "rows": rows, "step": "submit"}
    operator.post("/new/many", form).says("Submitted 2 tasks.")
    assert [task["topic"] for task in tasks_about(place, "row ")] == ["row good", "row ok"]


def test_a_sheet_names_accounts_and_says_the_review_as_the_form_does() -> None:
    rows = "主题,账号,审核\na,晨报,由编辑审核\nb,7,否\nc,7,maybe\nd,晚报,\n"
    ids = {"晨报": 5, "7": 7}

    def account(name: str) -> int:
        if name not in ids:
            raise BadValue("No account has this name.")
        return ids[name]

    read = sheet(rows, {}, Form({}, account=account), "run")
    assert [(row.values["account_id"], row.values["auto_approve"]) for row in read.good] == [(5, False), (7, True)]
    assert [list(row.problems) for row in read.bad] == [["auto_approve"], ["account_id"]]
    assert read.unknown == []


def test_what_is_no_sheet_is_refused_and_kept(operator: Visitor, account: str) -> None:
    for rows, problem in (
        ('topic,tone\n"open,x\n', "look for a quote that is not closed"),
        ("tone,priority\nx,1\n", "names no column topic"),
        ("topic,topic\nx,y\n", "twice"),
        ("\n \n", "There is no row"),
        ("x\n" * 5_001, "5,000 rows at most"),
    ):
        answer = operator.post("/new/many", {"account_id": account, "rows": rows, "step": "preview"})
        answer.says(problem, status=400)
        assert rows[:20].split("\n")[0] in html.unescape(answer.text)
    answer = operator.post("/new/many", {"account_id": account, "encoding": "UTF-8"}, file=b"topic\n\xff\n")
    answer.says("The file is no text in UTF-8")


def test_a_row_that_the_scheduler_refuses_is_named_and_the_others_are_taken(place: Place, operator: Visitor) -> None:
    rows = "topic,account\n" + "\n".join(f"refused {i},{4711 if i == 3 else place.account}" for i in range(6))
    preview = operator.post("/new/many", {"rows": rows, "step": "preview"})
    operator.post("/new/many", {**preview.hidden(), "rows": rows, "step": "submit"}).says("5 of 6 done", "5: refused 3")
    assert len(tasks_about(place, "refused")) == 5


def test_a_double_click_submits_nothing_twice(place: Place, operator: Visitor, account: str) -> None:
    rows = "\n".join(f"clicked {i}" for i in range(600))
    preview = operator.post("/new/many", {"account_id": account, "rows": rows, "step": "preview"})
    form = {**preview.hidden(), "account_id": account, "rows": rows, "step": "submit", "schedule_time": ""}
    with Console(place.stack.folder, place.scheduler.target).start() as other_console:
        visitor = Visitor(other_console.url)  # of a console that knows nothing of the first click
        visitor.sign_in(OPERATOR)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda clicker: clicker.post("/new/many", form), (operator, operator, visitor)))
        visitor.post("/new/many", form)
        for browser in (operator, visitor):
            while "It has ended." not in browser.get(f"/work/{form['seen']}").text:
                pass
    assert len(list(place.client.iter_tasks(topic="clicked"))) == 600
    place.client.bulk_cancel_tasks(topic="clicked", force=True)


def test_a_task_is_submitted_in_the_readers_zone(place: Place, page: Page) -> None:
    page.goto("/new")
    zone = page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
    expect(page.locator("[data-zone]")).to_contain_text(zone)
    page.locator("#field-account_id").select_option(str(place.account))
    page.get_by_label("Topic").fill("by hand")
    page.get_by_label("Run not before").fill("2099-01-31T08:00")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("It is submitted.")).to_be_visible()
    expect(page.get_by_text("Its time has not come:")).to_be_visible()
