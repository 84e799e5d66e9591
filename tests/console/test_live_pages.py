"""Pages that stay fresh by themselves, in a real browser."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from contentgen import Unavailable
from tests.console.conftest import Place, page_at, sign_in
from tests.harness.waiting import wait_until


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


def test_a_page_keeps_what_it_shows_and_goes_on_when_scheduler_and_console_are_back(
    own_place: Place, chromium: Browser
) -> None:
    place = own_place
    with page_at(place, chromium) as page:
        sign_in(page)
        task_id = place.client.submit_task(account_id=place.account, topic="before")
        page.goto("/tasks")
        expect(page.locator(f"tr#{task_id}")).to_contain_text("completed")
        editor, edit = place.visitor(), f"/contents/{place.client.wait(task_id)['content_id']}/edit"
        editor.get(edit)
        place.scheduler.kill()
        expect(page.locator("#news")).to_contain_text("The schedulers do not answer")
        expect(page.locator(f"tr#{task_id}")).to_be_visible()
        kept = editor.post(edit, {"etag": "one", "title": "typed for an hour"})
        assert (kept.status, 'value="typed for an hour"' in kept.text) == (503, True)
        place.scheduler.start()
        expect(page.locator("#news")).to_be_empty()
        wait_until(lambda: reads(place, task_id), within=60, what="the client is connected again")
        later = place.client.submit_task(account_id=place.account, topic="after")
        expect(page.locator(f"tr#{later}")).to_contain_text("completed")
        place.console.kill()
        expect(page.locator("#news")).to_contain_text("The console does not answer")
        place.console.start()
        page.wait_for_url("/login?next=%2Ftasks")


def reads(place: Place, task_id: str) -> bool:
    """Its client connects again by itself, but may wait for some seconds before it tries."""
    try:
        return bool(place.client.get_task_status(task_id))
    except Unavailable:
        return False
