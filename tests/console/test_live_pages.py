"""Pages that stay fresh by themselves, in a real browser."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from playwright.sync_api import Browser, Page, expect

from contentgen import Unavailable
from contentgen.v1.system_service_pb2 import GetCallerResponse
from tests.console.conftest import OPERATOR, Place, page_at
from tests.harness.console import Console, Visitor
from tests.harness.scripted_server import refuse, scripted
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.browser


def test_rows_come_and_move_while_the_page_is_open_and_what_somebody_types_stays(place: Place, page: Page) -> None:
    page.goto("/tasks?topic=moves")
    expect(page.get_by_text("No task is like that")).to_be_visible()
    page.get_by_label("Topic").fill("half a wo")
    task_id = place.client.submit_task(account_id=place.account, topic="it moves")
    expect(page.locator(f"tr#{task_id}")).to_contain_text("completed")
    assert page.locator("#main").count() == 1
    expect(page.get_by_label("Topic")).to_have_value("half a wo")
    expect(page.get_by_label("Topic")).to_be_focused()


@pytest.mark.costly("services of its own end and start beside a browser")
def test_what_is_shown_and_what_was_typed_stay_while_nobody_answers_and_pages_go_on(
    own_place: Place, chromium: Browser
) -> None:
    place = own_place
    content = place.article("decided")
    task_id, review, edit = (
        content["task_id"],
        f"/review/{content['content_id']}",
        f"/contents/{content['content_id']}/edit",
    )
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
        later_task = place.client.submit_task(account_id=place.account, topic="after")
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
    assert place.content(content["content_id"])["review_status"] == "approved"


def test_a_form_whose_outcome_is_unknown_says_so(tmp_path: Path) -> None:
    def lost(_: object, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the connection was lost in a commit")

    caller = GetCallerResponse(role="operator", methods=["AccountService/CreateAccount"])
    with (
        scripted(GetCaller=lambda *_: caller, DeactivateAccount=lost) as target,
        Console(tmp_path, target).start() as console,
    ):
        visitor = Visitor(console.url)
        visitor.get("/accounts/new")
        answer = visitor.post("/accounts/1/deactivate", {"why": "typed"})
    assert (answer.status, 'value="typed"' in answer.text) == (503, True)
    assert "it may have been" in answer.text
    assert "Nothing was decided" not in answer.text


def reads(place: Place, task_id: str) -> bool:
    """Its client connects again by itself, but may wait for some seconds before it tries."""
    try:
        return bool(place.client.get_task_status(task_id))
    except Unavailable:
        return False
