"""The list of tasks: filters, pages, what is done with many at once; and what pages do while nobody answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import grpc
import pytest
from playwright.sync_api import Browser, Page, expect

from console_svc.tasks.bulk import BATCH
from contentgen import NewTask, Unavailable
from tests.console.conftest import OPERATOR, Place, open_console, page_at
from tests.harness.console import Visitor
from tests.harness.scripted_server import refuse
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.browser

MANY = 120
ROW = re.compile(r'<tr id="(task-[0-9a-f]{16})"')
NEXT = re.compile(r'href="(/tasks\?[^"]+)" rel="next"')
SOON = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def many(place: Place) -> list[str]:
    """Submits tasks that wait for tomorrow."""
    return place.client.submit_tasks(
        {"account_id": place.account, "topic": f"many {i}", "schedule_time": SOON, "labels": {"set": str(i % 2)}}
        for i in range(MANY)
    )


def later(place: Place, topic: str, n: int = 1, **fields: object) -> list[str]:
    brief: Any = {"account_id": place.account, "topic": topic, "schedule_time": SOON, **fields}
    return place.client.submit_tasks([brief] * n)


def test_pages_skip_and_double_nothing_while_tasks_are_added(place: Place, operator: Visitor, many: list[str]) -> None:
    path, task_ids = "/tasks?topic=many", []
    while True:
        text = operator.get(path).text
        task_ids += ROW.findall(text)
        if not (match := NEXT.search(text)):
            break
        later(place, "many more")
        path = match[1].replace("&amp;", "&")
    assert task_ids == many[::-1]
    assert 'rel="first"' in text


@pytest.mark.parametrize(
    ("query", "n"),
    [
        ("label=set%3D1", MANY // 2),
        ("label=set%3D1&status=completed", 0),
        ("after=2020-01-01T00:00&zone=Asia/Shanghai", MANY),
        ("before=2020-01-01T00:00", 0),
        ("worker=nobody", 0),
        ("reason=creator_error", 0),
        ("schedule=77", 0),
        ("account=77", 0),
    ],
)
def test_each_condition_is_in_the_address(place: Place, operator: Visitor, many: list[str], query: str, n: int) -> None:
    text = operator.get(f"/tasks?topic=many&{query}").text
    assert len(ROW.findall(text)) == min(n, 50)
    assert re.search(r'name="schedule"[^>]+ inputmode="numeric"', text), "it is no account"


def test_columns_sort_the_list_page_by_page(place: Place, operator: Visitor, many: list[str]) -> None:
    """By links, without a script; views, filters and what is done with all keep the order."""
    path, task_ids = "/tasks?topic=many&label=set%3D0&sort=oldest_first", []
    operator.get(path).says(
        'aria-sort="ascending"><a href="/tasks?topic=many&amp;label=set%3D0"', "Order: oldest first"
    )
    while path:
        text = operator.get(path).text
        task_ids += ROW.findall(text)
        match = NEXT.search(text)
        path = match[1].replace("&amp;", "&") if match else ""
    assert task_ids == many[::2]
    first, second = later(place, "sorted by end", 2)
    later(place, "sorted by end, open")
    place.client.cancel_task(second)
    place.client.cancel_task(first)
    page = operator.get("/tasks?topic=sorted+by+end&sort=last_ended_first").says(
        '<option value="last_ended_first" selected'
    )
    assert ROW.findall(page.text) == [first, second]
    assert page.hidden("chosen")["status"] == ["completed", "failed", "timeout", "cancelled"]
    turned = operator.get("/tasks?topic=sorted+by+end&sort=first_ended_first").says(
        'name="sort" value="first_ended_first"'
    )
    assert ROW.findall(turned.text) == [second, first]
    operator.get("/tasks?topic=sorted+by+end&sort=priority").says("sort=priority", 'aria-sort="descending"')


def test_a_view_is_an_address_with_a_name(operator: Visitor, many: list[str]) -> None:
    page = operator.get("/tasks?topic=many&view=Spring%20%3Cb%3E").says("<title>Spring &lt;b&gt;", "Save this view")
    assert len(ROW.findall(page.text)) == 50
    assert "view=Spring" in NEXT.findall(page.text)[0]
    operator.get("/tasks").lacks("Save this view")


def test_back_leads_through_pages_and_filters_as_they_were(place: Place, many: list[str], page: Page) -> None:
    """Also while rows move; the browser goes back, and no script puts a page together."""
    page.goto("/tasks")
    page.get_by_label("Topic").fill("many")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("topic=many"))
    expect(page.locator(f"tr#{many[-1]}")).to_be_visible()
    filtered = page.url
    page.get_by_role("link", name="Older").click()
    expect(page.locator(f"tr#{many[-51]}")).to_be_visible()
    second = page.url
    page.locator(f"tr#{many[-51]}").get_by_role("link").click()
    expect(page.get_by_text("Why it waits")).to_be_visible()
    place.client.update_task(many[-51], priority=8)
    for address, first in ((second, many[-51]), (filtered, many[-1])):
        page.go_back()
        expect(page).to_have_url(address)
        expect(page.locator(f"tr#{first}")).to_be_visible()
        expect(page.get_by_label("Topic")).to_have_value("many")
        expect(page.locator("main")).to_have_count(1)
    page.go_back()
    expect(page).to_have_url(re.compile(r"/tasks$"))
    page.go_forward()
    expect(page).to_have_url(filtered)
    expect(page.locator("tbody tr")).to_have_count(50)


def test_a_view_is_saved_shown_and_removed(many: list[str], page: Page) -> None:
    page.goto("/tasks?topic=many&label=set%3D1")
    page.get_by_text("Save this view").click()
    page.locator("#save-view").get_by_label("Name").fill("Odd & ends")
    page.locator("#save-view button").click()
    expect(page).to_have_title(re.compile("Odd & ends"))
    page.goto("/tasks")
    page.locator("#views").get_by_role("link", name="Odd & ends").click()
    expect(page.locator("h1")).to_have_text("Odd & ends")
    expect(page.locator("#field-label")).to_have_value("set=1")
    page.get_by_role("button", name="Remove the view Odd & ends").click()
    expect(page.locator("#views")).to_be_hidden()
    page.reload()
    expect(page.locator("#views")).to_be_hidden()


def test_an_id_leads_to_its_task(place: Place, operator: Visitor, many: list[str]) -> None:
    assert operator.get(f"/tasks?topic={many[0]}").url.endswith(f"/tasks/{many[0]}")


def test_all_that_match_are_counted_and_cancelled_and_no_others(place: Place, operator: Visitor) -> None:
    first_batch, second_batch = later(place, "batch one", 60), later(place, "batch two", 3)
    shown_fields = operator.get(f"/tasks?topic=batch+one&account={place.account}").hidden("chosen")
    chosen = urlencode({**shown_fields, "all": "yes", "do": "cancel"}, doseq=True)
    form = operator.get(f"/tasks/move?{chosen}").says("60 tasks wait for a worker")
    newer = later(place, "batch one, later")
    operator.post("/tasks/move", form.hidden()).says("Cancelled 60 tasks.")
    assert states(place, first_batch) == {"cancelled"}
    assert states(place, [*second_batch, *newer]) == {"pending"}


def test_what_could_not_be_done_is_named(place: Place, operator: Visitor) -> None:
    first, second = later(place, "to cancel", 2)
    query = f"do=cancel&task={first}&task={second}&task=task-ffffffffffffffff"
    operator.get(f"/tasks/move?{query}").says("1 is not there any more")
    place.client.cancel_task(first)
    answer = operator.post("/tasks/move", {"do": "cancel", "task": [first, second], "key": "k1"})
    assert "/work/k1" in answer.url
    answer.says("It is cancelled by now.", "1 of 2 done")
    assert states(place, [second]) == {"cancelled"}


@pytest.mark.parametrize("ticked", [True, False])
def test_failed_tasks_are_retried_and_those_without_retries_on_demand(
    place: Place, operator: Visitor, ticked: bool
) -> None:
    topic = f"outage {ticked}"
    brief: NewTask = {
        "creator_options": {"demo-no-such": "1"},
        "auto_retry": False,
        "account_id": place.account,
        "topic": topic,
    }
    failed, used_up = place.client.submit_tasks([brief, {**brief, "max_retries": 0}])
    for task_id in (failed, used_up):
        assert place.client.wait(task_id, 60)["status"] == "failed"
    query = f"task={failed}&task={used_up}" if ticked else f"all=yes&topic=outage+{ticked}"
    form = operator.get(f"/tasks/move?do=retry&{query}")
    form.says("1 task will go back", "Also 1 whose retries are used up")
    place.client.pause_dispatch(place.account)  # what fails again at once would go back again
    assert "Put 2 tasks back" in operator.post("/tasks/move", {**form.hidden(), "more": "yes"}).text
    place.client.resume_dispatch(place.account)
    tasks = [place.client.wait(task_id, 60) for task_id in (failed, used_up)]
    assert [(task["attempt"], task["retry_count"]) for task in tasks] == [(2, 1), (2, 0)]


def test_failed_tasks_are_counted_and_retried_by_cause(place: Place, operator: Visitor) -> None:
    submit: Any = {"auto_retry": False, "labels": {"set": "causes"}}
    task_id = place.submit("it fails", creator_options={"demo-fail": "exit"}, **submit)
    reason = place.client.wait(task_id, timeout=60)["error_reason"]
    page = operator.get("/tasks?status=failed&label=set%3Dcauses")
    page.says("By cause", f"<code>{reason}</code> · 1 task<", "Retry these…")
    (retry,) = re.findall(r'href="(/tasks/move\?[^"]+)"', page.text)
    operator.get(retry.replace("&amp;", "&")).says("1 task will go back into the queue")
    counts = place.client.get_task_stats()["counts"]
    operator.get("/tasks").says(f'">failed {counts["failed"]}</a>').lacks("By cause")


def test_tasks_of_tomorrow_run_now(place: Place, operator: Visitor) -> None:
    task_id, *_ = later(place, "tomorrow's")
    form = operator.get(f"/tasks/move?do=run&task={task_id}")
    assert "Moved 1 task " in operator.post("/tasks/move", {**form.hidden(), "priority": "9"}).text
    task = place.client.wait(task_id, 60)
    assert (task["status"], task["priority"]) == ("completed", 9)


def test_what_is_no_order_is_refused(operator: Visitor, many: list[str]) -> None:
    assert operator.get("/tasks/move?do=cancel").status == 400
    assert operator.get(f"/tasks/move?do=explode&task={many[0]}").status == 400
    assert operator.get("/work/none").status == 404


def test_rows_come_and_move_while_the_page_is_open_and_what_somebody_types_stays(place: Place, page: Page) -> None:
    page.goto("/tasks?topic=moves")
    expect(page.get_by_text("No task is like that")).to_be_visible()
    page.get_by_label("Topic").fill("half a wo")
    task_id = place.submit("it moves")
    expect(page.locator(f"tr#{task_id}")).to_contain_text("completed")
    assert page.locator("#main").count() == 1
    expect(page.get_by_label("Topic")).to_have_value("half a wo")
    expect(page.get_by_label("Topic")).to_be_focused()


def test_ticks_stay_while_rows_move(place: Place, page: Page) -> None:
    first, second, third = later(place, "ticked rows", 3)
    page.goto("/tasks?topic=ticked+rows")
    page.locator(f"#tick-{first}").check()
    page.locator(f"#tick-{second}").check()
    expect(page.locator("#ticked")).to_have_text("2 ticked")
    place.client.update_task(first, priority=7)
    expect(page.locator(f"tr#{first} td.number").first).to_have_text("7")
    newer, *_ = later(place, "ticked rows, newer")
    expect(page.locator(f"tr#{newer}")).to_be_visible()
    expect(page.locator(f"#tick-{first}")).to_be_checked()
    expect(page.locator(f"#tick-{third}")).not_to_be_checked()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_text("2 tasks wait for a worker")).to_be_visible()
    page.get_by_role("button", name="Cancel them").click()
    expect(page.get_by_text("Cancelled 2 tasks.")).to_be_visible()
    expect(page.locator(f"tr#{second}")).to_contain_text("cancelled")
    assert states(place, [third, newer]) == {"pending"}


def test_all_of_a_page_are_ticked_at_once(place: Place, many: list[str], page: Page) -> None:
    page.goto("/tasks?topic=many")
    expect(page.get_by_role("button", name="Run now…")).to_be_disabled()
    page.get_by_label("Tick all of this page").check()
    expect(page.locator("#ticked")).to_have_text("50 ticked")


def test_no_row_is_left_in_a_state_that_it_has_left(place: Place, page: Page) -> None:
    task_id, *_ = later(place, "leaves pending")
    page.goto("/tasks?topic=leaves+pending&status=pending")
    expect(page.locator(f"tr#{task_id}")).to_be_visible()
    place.client.cancel_task(task_id)
    expect(page.locator(f"tr#{task_id} .state.pending")).to_have_count(0)


def test_a_row_shows_how_far_its_task_is(place: Place, page: Page) -> None:
    with place.running("how far", seconds="15") as task_id:
        page.goto("/tasks?topic=how+far")
        bar = page.locator(f"tr#{task_id} progress")
        expect(bar).to_be_visible()
        value = bar.get_attribute("value")
        page.locator(f"#tick-{task_id}").check()
        expect(bar).not_to_have_attribute("value", str(value), timeout=30_000)
        expect(page.locator(f"#tick-{task_id}")).to_be_checked()


def test_more_tasks_than_a_batch_are_cancelled(place: Place, operator: Visitor) -> None:
    task_ids = later(place, "more than a batch", BATCH + 1)
    form = operator.get("/tasks/move?topic=more+than+a+batch&all=yes&do=cancel").says("501 tasks wait for a worker")
    operator.post("/tasks/move", form.hidden())
    work = f"/work/{form.hidden()['key']}"
    wait_until(lambda: "It has ended." in operator.get(work).text, within=60, what="all are cancelled")
    operator.get(work).says("501 of 501 done")
    assert states(place, task_ids) == {"cancelled"}


# While nobody answers.


@pytest.mark.costly("services of its own end and start beside a browser", seconds=3)
def test_work_waits_for_a_scheduler_that_is_away_and_can_be_stopped(own_place: Place, chromium: Browser) -> None:
    place, visitor = own_place, own_place.visitor()
    with page_at(place, chromium) as page:
        first, second, third = later(place, "while it is away", 3)
        fields = visitor.get(f"/tasks/move?do=cancel&task={third}").hidden()
        page.goto(f"/tasks/move?do=cancel&task={first}&task={second}")
        place.scheduler.kill()
        page.get_by_role("button", name="Cancel them").click()
        expect(page.get_by_role("heading", name="Cancelling 2 tasks")).to_be_visible()
        expect(page.get_by_text("0 of 2 done")).to_be_visible()
        path = visitor.post("/tasks/move", fields).url.removeprefix(place.console.url)
        assert "You have stopped it." in visitor.post(f"{path}/stop", {}).text
        place.scheduler.start()
        expect(page.get_by_text("2 of 2 done")).to_be_visible()
        expect(page.get_by_text("It has ended.")).to_be_visible()
        assert (states(place, [first, second]), states(place, [third])) == ({"cancelled"}, {"pending"})


def states(place: Place, task_ids: list[str]) -> set[str]:
    return {task["status"] for task in place.client.get_task_statuses(task_ids) if task}


@pytest.mark.costly("services of its own end and start beside a browser", seconds=8)
def test_what_is_shown_and_what_was_typed_stay_while_nobody_answers_and_pages_go_on(
    own_place: Place, chromium: Browser
) -> None:
    place = own_place
    content = place.article("decided")
    task_id, content_id = content["task_id"], content["content_id"]
    review, edit = f"/review/{content_id}", f"/contents/{content_id}/edit"
    editor = place.visitor()
    with page_at(place, chromium) as tasks, page_at(place, chromium) as desk:
        tasks.goto("/tasks")
        expect(tasks.locator(f"tr#{task_id}")).to_contain_text("completed")
        desk.goto(review)
        undone, note = desk.locator("#undone"), desk.get_by_label("What to do better")
        desk.keyboard.press("b")
        desk.keyboard.type("make it shorter")
        place.scheduler.kill()
        for page in (tasks, desk):
            expect(page.locator("#news")).to_contain_text("The schedulers do not answer")
        expect(tasks.locator(f"tr#{task_id}")).to_be_visible()
        desk.keyboard.press("Control+Enter")
        expect(undone).to_contain_text("Nothing was decided or changed")
        expect(note).to_have_value("make it shorter")
        desk.keyboard.press("Escape")
        desk.keyboard.press("a")
        expect(undone).to_contain_text("Nothing was decided or changed")
        expect(desk.locator(".paper h2")).to_be_visible()
        without_scripts = editor.post(edit, {"etag": "one", "title": "typed for an hour"})
        without_scripts.says('value="typed for an hour"', f'action="{edit}"', status=503)
        assert 'hx-trigger="every' not in without_scripts.text
        place.scheduler.start()
        for page in (tasks, desk):
            expect(page.locator("#news")).to_be_empty()
        wait_until(lambda: reads(place, task_id), within=60, what="the client is connected again")
        later_task = place.submit("after")
        expect(tasks.locator(f"tr#{later_task}")).to_contain_text("completed")
        place.console.kill()
        expect(tasks.locator("#news")).to_contain_text("The console does not answer")
        desk.keyboard.press("a")
        expect(undone).to_contain_text("The console does not answer")
        place.console.start()
        tasks.wait_for_url("/login?next=%2Ftasks")
        desk.wait_for_url(f"/login?next={quote(review, safe='')}")
        desk.get_by_label("Your token").fill(OPERATOR)
        desk.get_by_role("button", name="Sign in").click()
        desk.wait_for_url(review)
        desk.keyboard.press("a")
        expect(desk.locator("#undo")).to_be_visible()
    assert place.content(content_id)["review_status"] == "approved"


def test_a_form_whose_outcome_is_unknown_says_so(tmp_path: Path) -> None:
    def lost(_: object, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the connection was lost in a commit")

    with open_console(tmp_path, DeactivateAccount=lost) as console:
        visitor = Visitor(console.url)
        visitor.get("/accounts/new")
        answer = visitor.post("/accounts/1/deactivate", {"why": "typed"})
        answer.says('value="typed"', "it may have been", status=503)
    assert "Nothing was decided" not in answer.text


def reads(place: Place, task_id: str) -> bool:
    """Its client connects again by itself, but may wait for some seconds before it tries."""
    try:
        return bool(place.client.get_task_status(task_id))
    except Unavailable:
        return False
