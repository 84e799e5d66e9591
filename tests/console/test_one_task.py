"""The page of one task: what it did when, why it waits, what can be done with it, and commands for it."""

from __future__ import annotations

import html
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from contentgen.submit_fields import BRIEF, BY_NAME
from tests.console.conftest import OPERATOR, Place, present
from tests.harness.console import Visitor
from tests.harness.process import program

pytestmark = pytest.mark.browser

HOSTILE = '-it\'s $(touch pwned) `touch pwned` !! \\ "%s"\n\x03touch pwned\r\x1b[2J\u202etxt 春天😀'
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def retried(place: Place) -> str:
    """A task whose first attempt failed, and whose second one completed."""
    options = {"demo-fail": "exit", "demo-fail-times": "1"}
    task_id = place.submit("retried", creator_options=options, initial_backoff=0.1, labels={"set": "a"})
    assert place.client.wait(task_id, 30)["status"] == "completed"
    return task_id


def test_the_page_tells_each_attempt_and_wait(operator: Visitor, retried: str) -> None:
    text = operator.get(f"/tasks/{retried}").text
    assert text.count('<div class="lane">') == 2
    assert len(re.findall(r'<rect class="processing good"', text)) == 1
    assert len(re.findall(r'<rect class="\w+ bad"', text)) == 1
    table = text.partition('id="timeline-table"')[2].partition("</table>")[0]
    assert re.findall(r"<code>(\w+)</code></td><td>", table)[:2] == ["SUBMITTED", "LEASED"]
    assert table.count("AUTO_RETRY") == 1
    assert "the model said no" in text.partition('id="attempt-1"')[2].partition("</details>")[0]
    assert re.search(r'href="/contents/\d+">The content', text)


def test_a_failure_shows_its_error_and_what_was_printed_line_by_line(place: Place, operator: Visitor) -> None:
    options = {"demo-fail": "exit"}
    task_id = place.submit("fails", creator_options=options, auto_retry=False, max_retries=0)
    place.client.wait(task_id, 30)
    text = operator.get(f"/tasks/{task_id}").says("<code>CREATOR_ERROR</code>").text
    assert "told to fail\nError: the model said no" in html.unescape(text)
    assert "reset the retry count" in text
    assert "It is back in the queue." in operator.post(f"/tasks/{task_id}/retry", {"anew": "yes"}).text
    assert place.client.wait(task_id, 30)["attempt"] == 2
    assert "Its retries are used up." in operator.post(f"/tasks/{task_id}/retry", {}).text


def test_a_task_of_tomorrow_says_so_and_runs_now(place: Place, operator: Visitor) -> None:
    task_id = place.submit("tomorrow's", schedule_time=TOMORROW)
    operator.get(f"/tasks/{task_id}").says("Its time has not come:")
    assert "It is changed." in operator.post(f"/tasks/{task_id}", {"priority": "9"}).text
    operator.post(f"/tasks/{task_id}/run", {})
    task = place.client.wait(task_id, 30)
    assert (task["status"], task["priority"]) == ("completed", 9)


def test_what_is_typed_over_is_changed_and_nothing_else(place: Place, operator: Visitor) -> None:
    task_id = place.submit("typed over", schedule_time=TOMORROW, tone="dry", timeout=90, labels={"set": "a"})
    path = f"/tasks/{task_id}"
    was = operator.get(path).hidden("change")
    assert was["was-topic"] == "typed over"
    place.client.update_task(task_id, keywords="of somebody else")
    shown = {name.removeprefix("was-"): value for name, value in was.items()}
    typed = {**was, **shown, "topic": "another", "tone": "", "timeout": "", "labels": "set=b", "zone": "Asia/Shanghai"}
    operator.post(path, {**typed, "schedule_time": "2031-05-04T08:00:00", "priority": "9"}).says("It is changed.")
    task = present(place.client.get_task_status(task_id))
    assert (task["topic"], task["tone"], task["timeout"], task["labels"]) == ("another", None, 1_800, {"set": "b"})
    assert (task["keywords"], task["priority"]) == ("of somebody else", 9)
    assert task["schedule_time"] == "2031-05-04T00:00:00+00:00"


def test_what_cannot_be_changed_so_is_named_and_kept(place: Place, operator: Visitor) -> None:
    task_id = place.submit("to be kept", schedule_time=TOMORROW)
    path = f"/tasks/{task_id}"
    was = operator.get(path).hidden("change")
    bad = {"topic": "", "priority": "11", "max_retries": "x", "timeout": "0s", "schedule_time": "soon", "tone": "mine"}
    page = operator.post(path, {**was, **bad}).says("Nothing was changed.", 'value="mine"', status=400)
    problems = {name for name in bad if f'id="problem-{name}"' in page.text}
    assert problems == bad.keys() - {"tone"}
    bad = {"topic": "x", "expire_time": "2020-01-01T00:00"}
    operator.post(path, {**was, **bad}).says('id="problem-expire_time"', status=400)
    place.client.cancel_task(task_id)
    operator.post(path, {**was, "topic": "too late"}).says("It waits no longer", "too late", status=400)
    operator.get(path).lacks('id="change"')
    assert present(place.client.get_task_status(task_id))["topic"] == "to be kept"


def test_each_reason_to_wait_is_told_with_what_to_do(place: Place, operator: Visitor) -> None:
    client = place.client
    options = {"demo-fail": "exit"}
    pausing_task = client.submit_task(place.account, "pauses", creator_options=options, initial_backoff=3_600)
    with client.watch([pausing_task]) as events:
        next(event for event in events if event["previous_status"] in {"failed", "timeout"})
    until = present(client.get_task_status(pausing_task))["next_attempt_time"]
    assert until is not None
    assert datetime.fromisoformat(until) > datetime.now(UTC) + timedelta(minutes=40)
    operator.get(f"/tasks/{pausing_task}").says("It pauses before its next attempt", f'<time datetime="{until}"')
    client.pause_dispatch()
    try:
        paused_task = client.submit_task(place.account, "stopped")
        assert "Its account is paused, or everything is." in operator.get(f"/tasks/{paused_task}").text
    finally:
        client.resume_dispatch()
    operator.post(f"/tasks/{pausing_task}/run", {})
    with client.watch([pausing_task]) as events:
        assert next(event for event in events if event["task"]["attempt"] == 2)
    operator.post(f"/tasks/{pausing_task}/cancel", {})
    assert client.wait(pausing_task, 30)["status"] == "cancelled"


def test_what_the_state_does_not_allow_is_not_offered_and_refused(operator: Visitor, retried: str) -> None:
    assert f"/tasks/{retried}/cancel" not in operator.get(f"/tasks/{retried}").text
    assert "completed" in operator.post(f"/tasks/{retried}/cancel", {}).text
    assert operator.get("/tasks/task-ffffffffffffffff").status == 404


def test_the_commands_do_what_they_say_whatever_the_task_holds(place: Place, operator: Visitor) -> None:
    texts: dict[str, Any] = {field.name: f"-{field.name}\n2." for field in BRIEF[1:]}
    settings: dict[str, Any] = {"priority": 7, "max_retries": 0, "backoff_multiplier": 1.5, "timeout": 90.5}
    task_id = place.submit(
        HOSTILE,
        auto_retry=False,
        auto_approve=False,
        max_backoff=3_600,
        schedule_time=TOMORROW,
        labels={"a": "b'"},
        **settings,
        **texts,
    )
    text = operator.get(f"/tasks/{task_id}").text
    assert all(html.escape(value, quote=False) in text for value in texts.values())
    folder = place.stack.folder / "shell"
    folder.mkdir()
    output = run(command(text, "show"), folder)
    assert task_id in output
    copy_id = run(command(text, "submit"), folder).strip()
    first, second = map(present, place.client.get_task_statuses([task_id, copy_id]))
    names = [name for name in BY_NAME if name in first and name not in {"request_id", "unique_key", "unique_for"}]
    assert [second[name] for name in names] == [first[name] for name in names]  # type: ignore[literal-required]
    assert list(folder.iterdir()) == []
    for name in ("submit", "grpcurl-submit"):
        assert not re.search(r"[\x00-\x1f\x7f\u202e]", command(text, name))


def command(text: str, name: str) -> str:
    match = re.search(rf'<pre id="command-{name}"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert match
    return html.unescape(match[1])


def run(line: str, folder: Path) -> str:
    path = f"{Path(program('contentgen')).parent}:/usr/bin:/bin"
    environment = {**os.environ, "CONTENTGEN_TOKEN": OPERATOR, "PATH": path, "LC_ALL": "C.UTF-8"}
    process = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    return process.stdout.decode()


def test_progress_and_the_end_appear_by_themselves(place: Place, page: Page) -> None:
    place.client.pause_dispatch()
    try:
        task_id = place.submit("watched", creator_options={"demo-seconds": "5"})
        page.goto(f"/tasks/{task_id}")
        expect(page.locator("#progress")).to_contain_text("pending")
    finally:
        place.client.resume_dispatch()
    expect(page.locator("#progress progress")).to_be_visible()
    expect(page.locator("#tail-1")).to_contain_text(re.compile(r"progress: \d+% \w+\nprogress: "))
    expect(page.get_by_role("link", name="The content")).to_be_visible()
    expect(page.locator("#progress")).to_contain_text("completed")


def test_a_command_is_copied(place: Place, retried: str, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/tasks/{retried}")
    page.get_by_text("Commands for a terminal").click()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#command-show").text_content()


def test_what_is_open_stays_open_while_the_task_moves(place: Place, page: Page) -> None:
    task_id = place.submit("kept open", schedule_time=TOMORROW)
    page.goto(f"/tasks/{task_id}")
    page.get_by_text("Commands for a terminal").click()
    page.get_by_text("As a table").click()
    place.client.update_task(task_id, priority=3)
    expect(page.locator("dd", has_text=re.compile(r"^3$"))).to_be_visible()
    expect(page.locator("#command-show")).to_be_visible()
    expect(page.locator("#timeline-table table")).to_be_visible()
