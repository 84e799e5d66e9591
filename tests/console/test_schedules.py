"""Schedules: what an editor sees of them, and does with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from playwright.sync_api import Page, expect

from console_svc.schedules.page import in_words
from contentgen import ScheduledTask
from contentgen.v1 import schedule_service_pb2 as pb
from tests.console.conftest import Place, open_console, present
from tests.harness.console import Visitor

pytestmark = pytest.mark.browser

FIELDS = {
    "name": "morning news",
    "cron": "0 9 * * MON-FRI",
    "time_zone": "Asia/Shanghai",
    "catch_up": "skip",
    "overlap": "skip",
    "jitter": "60",
    "topic": "daily news",
    "keywords": "news",
    "priority": "8",
    "auto_approve": "yes",
    "labels": "kind=news",
    "timeout": "90s",
    "auto_retry": "false",
    "initial_backoff": "5s",
    "backoff_multiplier": "3",
    "max_backoff": "1m",
    "creator_options": "model=large",
}


def _made(place: Place, **settings: Any) -> int:
    task: ScheduledTask = {"topic": "daily news", "labels": {"kind": "news"}, "timeout": 90.0}
    return place.client.create_schedule(place.account, "0 9 * * MON-FRI", task, **settings)["schedule_id"]


@pytest.mark.parametrize(
    ("line", "english", "chinese"),
    [
        ("0 9 * * MON-FRI", "At 09:00, Monday through Friday", "在 09:00，星期一到星期五"),
        ("*/30 * * * *", "Every 30 minutes", "每 30 分钟"),
        ("0 8 1 * *", "At 08:00, on day 1 of the month", "在 08:00，每月的 1 号"),
        ("0 9 * * mon#1", "At 09:00, on the first Monday of the month", "在 09:00，每月第一个星期一"),
        ("0 0 L 1 *", "At 00:00, on the last day of the month, only in January", "在 00:00，每月的最后一天，仅在 1月"),
        ("0 9 * * 1-5/2", "At 09:00, only on Monday, Wednesday, and Friday", "在 09:00，仅在星期一、星期三和星期五"),
        ("@daily", "", ""),
        ("0 9 * * never", "", ""),
        ("99 99 99 99 99", "", ""),
        ("0 0 * * " + "1," * 200, "", ""),
    ],
)
def test_cron_lines_in_words(line: str, english: str, chinese: str) -> None:
    assert (in_words(line, "en"), in_words(line, "zh-CN")) == (english, chinese)


def test_a_schedule_is_created_by_the_form(place: Place, operator: Visitor) -> None:
    assert "New schedule" in operator.get("/schedules").text
    answer = operator.post("/schedules/new", {**FIELDS, "account_id": str(place.account)}).says("Created schedule")
    schedule = present(place.client.get_schedule(int(answer.url.rpartition("/")[2])))
    assert (schedule["cron"], schedule["time_zone"], schedule["jitter"]) == ("0 9 * * MON-FRI", "Asia/Shanghai", 60.0)
    assert (schedule["catch_up"], schedule["overlap"], schedule["paused"]) == ("skip", "skip", False)
    task = schedule["template"]
    assert (task["topic"], task["keywords"], task["priority"], task["auto_approve"]) == ("daily news", "news", 8, True)
    assert (task["auto_retry"], task["initial_backoff"], task["backoff_multiplier"]) == (False, 5.0, 3.0)
    assert (task["max_backoff"], task["timeout"]) == (60.0, 90.0)
    assert (task["labels"], task["creator_options"]) == ({"kind": "news"}, {"model": "large"})
    assert "At 09:00, Monday through Friday" in answer.text
    assert answer.text.count('class="hint">Monday') + answer.text.count('class="hint">Friday') >= 1
    assert answer.text.count(" 09:00 <span") == 5


def test_a_bad_form_comes_back_with_what_was_typed(place: Place, operator: Visitor) -> None:
    fields = {**FIELDS, "account_id": str(place.account), "cron": "61 9 * * *", "time_zone": "Mars", "topic": ""}
    answer = operator.post("/schedules/new", fields).says('value="61 9 * * *" aria-invalid', 'value="morning news"')
    answer.says(*(f'id="problem-{name}"' for name in ("cron", "time_zone", "topic")), status=400)
    for name, text in {"account_id": "x", "timeout": "11 years", "jitter": "soon"}.items():
        answer = operator.post("/schedules/new", {**FIELDS, "account_id": str(place.account), name: text})
        answer.says(f'id="problem-{name}"', f'value="{text}"', status=400)
    operator.post("/schedules/new", {**FIELDS, "account_id": "999"}).says('id="problem-account_id"')


def test_a_change_begins_with_what_the_schedule_has(place: Place, operator: Visitor) -> None:
    schedule_id = _made(place)
    page = operator.get(f"/schedules/{schedule_id}")
    page.says('value="90s"', ">\nkind=news</textarea>", ">\ndaily news</textarea>")
    fields = {**FIELDS, "topic": "evening news", "cron": "0 18 * * *"}
    operator.post(f"/schedules/{schedule_id}", fields).says(f"Changed schedule {schedule_id}.")
    schedule = present(place.client.get_schedule(schedule_id))
    assert (schedule["cron"], schedule["template"]["topic"]) == ("0 18 * * *", "evening news")
    assert (schedule["template"]["labels"], schedule["template"]["timeout"]) == ({"kind": "news"}, 90.0)
    operator.post(f"/schedules/{schedule_id}", {**FIELDS, "cron": "never"}).says('value="never"', status=400)
    assert operator.post("/schedules/999", FIELDS).status == 404


def test_what_nobody_could_type_is_kept_if_it_is_not_changed(place: Place, operator: Visitor) -> None:
    task: ScheduledTask = {"topic": "daily news", "labels": {"kind": "a;b=c"}, "timeout": 1.234567}
    schedule_id = place.client.create_schedule(place.account, "0 9 * * *", task)["schedule_id"]
    operator.get(f"/schedules/{schedule_id}").says(">\nkind=a;b=c</textarea>")
    fields = {**FIELDS, "labels": "kind=a;b=c", "timeout": "1.23457s", "tone": "calm"}
    assert f"Changed schedule {schedule_id}." in operator.post(f"/schedules/{schedule_id}", fields).text
    schedule = present(place.client.get_schedule(schedule_id))
    assert schedule["template"]["labels"] == {"kind": "a;b=c"}
    assert (schedule["template"]["timeout"], schedule["template"]["tone"]) == (1.234567, "calm")
    fields["labels"] = "kind=a"
    operator.post(f"/schedules/{schedule_id}", fields)
    schedule = present(place.client.get_schedule(schedule_id))
    assert schedule["template"]["labels"] == {"kind": "a"}


def test_pause_resume_run_and_delete(place: Place, operator: Visitor) -> None:
    schedule_id = _made(place, name="by hand")
    path = f"/schedules/{schedule_id}"
    assert operator.post(f"{path}/pause", {"back": "list"}).says("paused: no runs").url.endswith("/schedules")
    operator.post(f"{path}/resume", {}).says(f"Resumed schedule {schedule_id}.")
    task_page = operator.post(f"{path}/run", {}).says(f"Schedule {schedule_id} has submitted this task.")
    assert "/tasks/task-" in task_page.url
    assert task_page.url.rpartition("/")[2] in operator.get("/schedules").text
    operator.get(path).says("What it has made", f'id="{task_page.url.rpartition("/")[2]}"')
    assert f"Deleted schedule {schedule_id}." in operator.post(f"{path}/delete", {}).text
    assert operator.get(path).status == 404


def test_a_refused_run_says_why(place: Place, operator: Visitor) -> None:
    account = place.client.create_account("closed")["account_id"]
    schedule_id = place.client.create_schedule(account, "0 9 * * *", {"topic": "none"})["schedule_id"]
    place.client.update_account(account, active=False)
    answer = operator.post(f"/schedules/{schedule_id}/run", {}).says('class="notice"')
    assert answer.url.endswith(f"/schedules/{schedule_id}")
    assert f"/schedules/{schedule_id}" not in operator.get(f"/schedules?account={place.account}").text


def test_runs_that_made_no_task_are_listed_with_their_reasons(tmp_path: Path) -> None:
    schedule = pb.Schedule(
        schedule_id=1,
        account_id=1,
        cron="0 9 * * *",
        last_error="its last task, task-00000000000000a1, has not ended",
        missed_runs=[
            pb.MissedRuns(run_time=Timestamp(seconds=1_800_000_000), count=1, reason="the queue is <full>"),
            pb.MissedRuns(run_time=Timestamp(seconds=1_700_000_000), count=3, reason="missed, and not caught up"),
        ],
    )
    with open_console(tmp_path, GetSchedule=lambda *_: pb.GetScheduleResponse(schedule=schedule)) as console:
        visitor = Visitor(console.url)
        visitor.get("/language/zh-CN")
        page = visitor.get("/schedules/1")
    page.says("未生成任务的运行", "the queue is &lt;full&gt;", "另有 2 次在此之前", "已错过，未补跑")
    page.says("上一个任务 task-00000000000000a1 尚未结束")


def test_the_preview_follows_what_is_typed(place: Place, page: Page) -> None:
    page.goto("/schedules/new")
    page.get_by_label("Cron line").press_sequentially("30 8 * * 1-5")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("At 08:30, Monday through Friday")
    expect(preview.locator("li")).to_have_count(5)
    expect(preview.locator("li").first).to_contain_text("08:30")
    page.goto("/language/zh-CN")
    page.goto("/schedules/new")
    page.locator("#field-time_zone").fill("Asia/Tokyo")
    page.locator("#field-cron").fill("30 8 * * 1-5")
    expect(preview).to_contain_text("在 08:30，星期一到星期五")
    page.locator("#field-cron").fill("30 8")
    expect(preview).to_contain_text("须有五个字段")
