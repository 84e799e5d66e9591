"""Pages that stay fresh by themselves, in a real browser."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from playwright.sync_api import Browser, Page, expect

from contentgen import Unavailable
from contentgen.v1.system_service_pb2 import GetCallerResponse
from tests.console.conftest import OPERATOR, Place, page_at, sign_in
from tests.harness.console import Console, Visitor
from tests.harness.scripted_server import refuse, scripted
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.browser


def test_a_row_moves_while_the_page_is_open(place: Place, page: Page) -> None:
    sign_in(page)
    page.goto("/tasks?topic=moves")
    expect(page.get_by_text("No task is like that")).to_be_visible()
    task_id = place.client.submit_task(account_id=place.account, topic="it moves")
    row = page.locator(f"tr#{task_id}")
    expect(row).to_contain_text("completed")
    assert page.locator("#main").count() == 1


def test_what_somebody_types_stays(place: Place, page: Page) -> None:
    sign_in(page)
    page.goto("/tasks")
    page.get_by_label("Topic").fill("half a wo")
    task_id = place.client.submit_task(account_id=place.account, topic="another one")
    expect(page.locator(f"tr#{task_id}")).to_contain_text("completed")
    expect(page.get_by_label("Topic")).to_have_value("half a wo")
    expect(page.get_by_label("Topic")).to_be_focused()


@pytest.mark.costly("services of its own end and start beside a browser")
def test_a_page_keeps_what_it_shows_and_goes_on_when_scheduler_and_console_are_back(
    own_place: Place, chromium: Browser
) -> None:
    place = own_place
    with page_at(place, chromium) as page:
        sign_in(page)
        task_id = place.client.submit_task(account_id=place.account, topic="before")
        page.goto("/tasks")
        expect(page.locator(f"tr#{task_id}")).to_contain_text("completed")
        place.scheduler.kill()
        expect(page.locator("#news")).to_contain_text("The schedulers do not answer")
        expect(page.locator(f"tr#{task_id}")).to_be_visible()
        place.scheduler.start()
        expect(page.locator("#news")).to_be_empty()
        wait_until(lambda: reads(place, task_id), within=60, what="the client is connected again")
        later_task = place.client.submit_task(account_id=place.account, topic="after")
        expect(page.locator(f"tr#{later_task}")).to_contain_text("completed")
        place.console.kill()
        expect(page.locator("#news")).to_contain_text("The console does not answer")
        place.console.start()
        page.wait_for_url("/login?next=%2Ftasks")


@pytest.mark.costly("services of its own end and start beside a browser")
def test_what_was_typed_stays_while_nobody_answers_and_is_sent_again(own_place: Place, chromium: Browser) -> None:
    place = own_place
    task_id = place.client.submit_task(account_id=place.account, topic="decided", auto_approve=False)
    content_id = place.client.wait(task_id, timeout=60)["content_id"]
    assert content_id
    editor, edit = place.visitor(), f"/contents/{content_id}/edit"
    editor.get(edit)
    with page_at(place, chromium) as page:
        sign_in(page)
        page.goto(f"/review/{content_id}")
        undone, note = page.locator("#undone"), page.get_by_label("What to do better")
        page.keyboard.press("b")
        page.keyboard.type("make it shorter")
        place.scheduler.kill()
        expect(page.locator("#news")).to_contain_text("The schedulers do not answer")
        page.keyboard.press("Control+Enter")
        expect(undone).to_contain_text("Nothing was decided or changed")
        expect(note).to_have_value("make it shorter")
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        expect(undone).to_contain_text("Nothing was decided or changed")
        expect(page.locator(".paper h2")).to_be_visible()
        without_scripts = editor.post(edit, {"etag": "one", "title": "typed for an hour"})
        assert (without_scripts.status, 'value="typed for an hour"' in without_scripts.text) == (503, True)
        assert f'action="{edit}"' in without_scripts.text
        assert 'hx-trigger="every' not in without_scripts.text
        place.scheduler.start()
        expect(page.locator("#news")).to_be_empty()
        place.console.kill()
        page.keyboard.press("a")
        expect(undone).to_contain_text("The console does not answer")
        place.console.start()
        page.wait_for_url(f"/login?next=%2Freview%2F{content_id}")
        page.get_by_label("Your token").fill(OPERATOR)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"/review/{content_id}")
        page.keyboard.press("a")
        expect(page.locator("#undo")).to_be_visible()
    wait_until(lambda: reads(place, task_id), within=60, what="the client is connected again")
    content = place.client.get_content(content_id)
    assert content
    assert content["review_status"] == "approved"


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
