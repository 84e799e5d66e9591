"""An hour of an editor and one of an operator, from beginning to end. `--articles 50` makes it a long one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import Place, page_at, sign_in
from tests.console.review_world import Press, nothing_waits

pytestmark = pytest.mark.browser

OTHERS = 3
"""Articles that are not simply approved: edited, sent back, rejected."""


@pytest.fixture(scope="module")
def place(newsroom: Place) -> Place:
    return newsroom


@pytest.fixture(scope="module")
def press(place: Place) -> Press:
    return Press(place)


@pytest.fixture(scope="module")
def articles(place: Place, press: Press, pytestconfig: pytest.Config) -> list[int]:
    """Contents that wait for a review, the oldest first, each with a picture."""
    nothing_waits(place)
    count = int(pytestconfig.getoption("--articles"))
    topics = [
        {"account_id": place.account, "topic": f"article {number}", "auto_approve": False} for number in range(count)
    ]
    tasks = place.client.submit_tasks(topics)
    return sorted(int(str(place.client.wait(task_id, 60)["content_id"])) for task_id in tasks)


@pytest.fixture
def picture(pytestconfig: pytest.Config) -> Path | None:
    folder = pytestconfig.getoption("--screenshots")
    return Path(folder) if folder else None


@pytest.mark.release("repeats what the tests of desk, calendar and pool show, as one long session")
def test_an_editors_hour(
    place: Place, press: Press, articles: list[int], chromium: Browser, picture: Path | None
) -> None:
    with page_at(place, chromium) as page:
        sign_in(page)
        page.goto("/")
        page.get_by_role("navigation").get_by_role("link", name="Review").click()
        _review(page, press, articles)
        if picture:
            (picture / "review-empty-en.png").write_bytes(page.screenshot())
        _reschedule(page, place, articles[-3:])
        _publish_again(page, place, articles[3])


def _review(page: Page, press: Press, articles: list[int]) -> None:
    """By keys alone: one edited, one sent back, one rejected, all others approved."""
    title = page.locator(".paper h2")

    def shown(number: int) -> None:
        expect(title).to_have_text(press.now(articles[number])["title"])
        page.wait_for_load_state()  # before that no key is heard

    shown(0)
    expect(page.locator(".article img")).to_have_js_property("naturalWidth", 60)
    page.keyboard.press("e")
    page.wait_for_url("**/edit?**")
    page.get_by_label("Title").fill("A better title")
    page.keyboard.press("Control+Enter")
    expect(title).to_have_text("A better title")
    page.wait_for_load_state()
    page.keyboard.press("a")
    shown(1)
    page.keyboard.press("b")
    page.keyboard.type("with more pictures")
    page.keyboard.press("Control+Enter")
    shown(2)
    page.keyboard.press("r")
    page.keyboard.type("not our readers'")
    page.keyboard.press("Control+Enter")
    for number in range(OTHERS, len(articles)):
        shown(number)
        page.keyboard.press("a")
    # what was sent back has been written anew meanwhile
    expect(title).to_have_text(press.now(articles[1])["title"])
    page.wait_for_load_state()
    page.keyboard.press("a")
    expect(page.locator(".paper")).to_contain_text("Nothing waits for a review.")
    states = [press.now(content_id)["review_status"] for content_id in articles]
    assert states == ["approved", "rejected", "rejected"] + ["approved"] * (len(articles) - OTHERS)


def _reschedule(page: Page, place: Place, contents: list[int]) -> None:
    """Three entries are dragged to another day of the calendar."""
    day = (datetime.now(UTC) + timedelta(days=40)).replace(day=10, hour=9, minute=0, second=0, microsecond=0)
    for content_id in contents:
        place.client.update_publish_pool_entry(content_id, schedule_time=day)
    page.goto(f"/pool/calendar?month={day:%Y-%m}")
    for number, content_id in enumerate(contents, 11):
        target = page.locator(f'[data-day="{day:%Y-%m}-{number}"]')
        page.locator(f'[data-content="{content_id}"]').drag_to(target)
        expect(target.locator(f'[data-content="{content_id}"]')).to_be_visible()
    times = {entry["content_id"]: entry["scheduled_at"] for entry in place.client.iter_publish_pool()}
    days = [datetime.fromisoformat(str(times[content_id])).astimezone(UTC).day for content_id in contents]
    assert days == [11, 12, 13]


def _publish_again(page: Page, place: Place, content_id: int) -> None:
    """A publication has failed for good, and is tried once more."""
    place.client.update_publish_pool_entry(content_id, priority=10)
    (claim,) = place.client.claim_publish_pool(limit=1)
    assert claim["content_id"] == content_id
    place.client.report_published(content_id, claim["claim_id"], error="the site is away")
    page.goto("/pool?state=failed")
    expect(page.locator(f"#entry-{content_id}")).to_contain_text("the site is away")
    page.get_by_role("button", name="Publish again").click()
    expect(page.get_by_text("will be published again")).to_be_visible()
    (second_claim,) = place.client.claim_publish_pool(limit=1)
    assert second_claim["content_id"] == content_id


@pytest.mark.release("repeats what the tests of tasks, workers and schedules show, as one long session")
def test_an_operators_hour(place: Place, press: Press, page: Page) -> None:
    """A stuck task is found and understood in three clicks, a worker is drained, a bad schedule is paused."""
    client = place.client
    narrow_account = client.create_account("narrow", max_concurrent_tasks=1)["account_id"]
    client.pause_dispatch(narrow_account)
    stuck_task = client.submit_task(narrow_account, "why does it not run?")
    schedule_id = client.create_schedule(place.account, "* * * * *", {"topic": "far too often"})["schedule_id"]
    page.on("dialog", lambda question: question.accept())
    sign_in(page)
    page.goto("/")
    page.get_by_role("link", name="Tasks", exact=True).click()
    page.get_by_role("link", name="why does it not run?").click()
    expect(page.locator("#main")).to_contain_text("paused")
    page.get_by_role("link", name="Workers", exact=True).click()
    page.locator("form", has=page.locator("[value='worker-1']")).get_by_role("button", name="Drain").click()
    expect(page.locator("#main")).to_contain_text("draining")
    page.get_by_role("link", name="Schedules", exact=True).click()
    page.get_by_role("link", name="far too often").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert next(schedule for schedule in client.iter_schedules() if schedule["schedule_id"] == schedule_id)["paused"]
    client.resume_dispatch(narrow_account)
    client.undrain_worker("worker-1")
    client.cancel_task(stuck_task)
