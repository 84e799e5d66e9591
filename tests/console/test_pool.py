"""The publish pool: the list, the calendar, and what an editor does there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from console_svc.pool.calendar import span_of
from contentgen import PublishPoolEntry
from tests.console.conftest import PHONE, REVIEWER, Place, cookies_of
from tests.harness.console import Visitor

pytestmark = pytest.mark.browser

MONTH = "2031-05"


@pytest.fixture(scope="module")
def place(place: Place) -> Place:
    """The place with an account of these tests' own."""
    return replace(place, account=place.client.create_account("the pool's")["account_id"])


@pytest.fixture
def content_id(place: Place) -> int:
    """Returns the content of a new entry."""
    return place.article("an entry", auto_approve=True)["content_id"]


def _entry(place: Place, content_id: int) -> PublishPoolEntry:
    return {entry["content_id"]: entry for entry in place.client.iter_publish_pool()}[content_id]


def _at(day: int, hour: int = 9) -> datetime:
    return datetime(2031, 5, day, hour, tzinfo=UTC)


def _claim(place: Place, content_id: int) -> str | None:
    """Claims an entry, and others of the highest priority before it; returns its claim."""
    place.client.update_publish_pool_entry(content_id, priority=10, unschedule=True)
    claims = {entry["content_id"]: entry["claim_id"] for entry in place.client.claim_publish_pool(limit=50)}
    return claims[content_id]


def _positions(text: str, contents: Sequence[int]) -> list[int]:
    return [text.index(f'id="entry-{content_id}"') for content_id in contents]


def test_the_list_is_in_the_order_of_claims_and_filters_stand_in_its_address(place: Place, operator: Visitor) -> None:
    articles = [place.article("one of three", auto_approve=True) for _ in range(3)]
    first, second, third = entries = [article["content_id"] for article in articles]
    place.client.update_publish_pool_entry(third, priority=9)
    place.client.update_publish_pool_entry(second, schedule_time=_at(7))
    text = operator.get(f"/pool?account={place.account}").text
    assert _positions(text, [third, first, second]) == sorted(_positions(text, entries))
    operator.get("/pool?from=2031-05-07&to=2031-05-07").says(f'id="entry-{second}"').lacks(f'id="entry-{first}"')
    operator.get("/pool?to=2031-05-06").lacks(f'id="entry-{second}"')
    for query in (f"state=published&account={place.account}", "account=999"):
        operator.get(f"/pool?{query}").says("No entry is like that")


def test_time_and_priority_are_changed_in_the_readers_zone(place: Place, operator: Visitor, content_id: int) -> None:
    fields = {"content_id": str(content_id), "zone": "Asia/Shanghai", "back": "/pool?account=1"}
    fields |= {"when_was": "", "priority_was": "5"}
    answer = operator.post("/pool/change", {**fields, "when": "2031-05-07T09:00", "priority": "8"})
    assert answer.says(f"Changed entry {content_id}.").url.endswith("/pool?account=1")
    entry = _entry(place, content_id)
    assert (entry["priority"], entry["scheduled_at"]) == (8, "2031-05-07T01:00:00+00:00")
    operator.post("/pool/change", {**fields, "when_was": "2031-05-07T09:00", "when": "", "priority": "5"})
    entry = _entry(place, content_id)
    assert (entry["priority"], entry["scheduled_at"]) == (8, None)
    assert operator.post("/pool/change", {**fields, "when": "soon"}).status == 400
    assert operator.post("/pool/change", {**fields, "when": "", "priority": "11"}).url.endswith("/pool?account=1")
    assert operator.post("/pool/change", {**fields, "when": "", "back": "//else.example/"}).url.endswith("/pool")


def test_a_past_time_is_asked_about_and_a_change_is_taken_back(
    place: Place, operator: Visitor, content_id: int
) -> None:
    old_time = _at(7) + timedelta(seconds=30)
    place.client.update_publish_pool_entry(content_id, schedule_time=old_time)
    fields = {"content_id": str(content_id), "zone": "Asia/Shanghai", "back": "/pool?account=1"}
    fields |= {"when_was": "2031-05-07T17:00:30", "when": "2020-05-07T17:00", "priority_was": "5", "priority": "6"}
    question = operator.post("/pool/change", fields).says("Publish it at once?")
    assert _entry(place, content_id)["scheduled_at"] == old_time.isoformat()
    answer = operator.post("/pool/change", question.hidden("sure"))
    assert answer.url.endswith("/pool?account=1")
    entry = _entry(place, content_id)
    assert (entry["priority"], entry["scheduled_at"]) == (6, "2020-05-07T09:00:00+00:00")
    operator.post("/pool/change", answer.hidden("undo")).says(f"Entry {content_id} is as it was.").lacks('id="undo"')
    entry = _entry(place, content_id)
    assert (entry["priority"], entry["scheduled_at"]) == (5, old_time.isoformat())


def test_a_failed_entry_shows_its_error_and_attempts_and_is_published_again(place: Place, content_id: int) -> None:
    place.client.report_published(content_id, _claim(place, content_id), error="the site refused it")
    visitor = place.visitor(REVIEWER)
    visitor.get("/pool?state=failed").says("the site refused it", f'action="/pool/{content_id}/retry"')
    visitor.get(f"/pool/{content_id}").says("the site refused it")
    visitor.post(f"/pool/{content_id}/retry", {"back": "/pool"}).says(f"Entry {content_id} will be published again.")
    assert _entry(place, content_id)["status"] == "pending"


def test_a_claimed_entry_says_by_whom_and_refuses_changes(place: Place, operator: Visitor, content_id: int) -> None:
    claim_id = _claim(place, content_id)
    page = operator.get(f"/pool?state=publishing&account={place.account}").says("operator, until")
    page.lacks(f'id="change-{content_id}"')
    operator.post(f"/pool/{content_id}/remove", {}).lacks("Changed")
    assert _entry(place, content_id)["status"] == "publishing"
    place.client.report_published(content_id, claim_id, url="https://news.example/1")
    operator.get("/pool?state=published").says('href="https://news.example/1" rel="noopener noreferrer nofollow"')


def test_an_entry_is_removed(place: Place, operator: Visitor, content_id: int) -> None:
    answer = operator.post(f"/pool/{content_id}/remove", {"back": "/pool"}).lacks(f'id="entry-{content_id}"')
    answer.says(f"Removed entry {content_id} from the pool.")
    operator.post(f"/pool/{content_id}/remove", {"back": "/pool"}).says(f"Entry {content_id} is not in the pool.")


@pytest.mark.parametrize(
    ("query", "name", "before", "after", "days"),
    [
        ({"month": "2027-01"}, "2027-01", "2026-12", "2027-02", 35),
        ({"month": "2027-12"}, "2027-12", "2027-11", "2028-01", 35),
        ({"month": "2027-02"}, "2027-02", "2027-01", "2027-03", 28),
        ({"week": "2026-W53"}, "2026-W53", "2026-W52", "2027-W01", 7),
        ({"week": "2027-W01"}, "2027-W01", "2026-W53", "2027-W02", 7),
        ({"week": "2027-W53"}, "2026-11", "2026-10", "2026-12", 42),
        ({"month": "9999-12"}, "9998-12", "9998-11", "9999-01", 35),
        ({"month": "0001-01"}, "1971-01", "1970-12", "1971-02", 35),
    ],
)
def test_months_and_weeks_lead_to_their_neighbours(
    query: dict[str, str], name: str, before: str, after: str, days: int
) -> None:
    span = span_of(query, date(2026, 11, 28))
    assert (span.name, span.before, span.after) == (name, before, after)
    assert (span.last - span.first).days + 1 == days


def test_the_calendar_has_months_and_weeks_in_both_languages(place: Place, operator: Visitor, content_id: int) -> None:
    place.client.update_publish_pool_entry(content_id, schedule_time=_at(31, 23))
    entry, chinese = f'id="entry-{content_id}"', cookies_of(operator, language="zh-CN")
    for query, texts in (
        (f"month={MONTH}", ["May 2031", entry, "month=2031-04", "month=2031-06"]),
        ("week=2031-W22", ["2031-05-26 – 2031-06-01", entry]),
        ("month=2031-09", ["Nothing is scheduled here"]),
        ("month=2031-13&week=2031-W54", [f"{datetime.now(UTC).year}"]),
    ):
        operator.get(f"/pool/calendar?{query}").says(*texts, status=200)
    operator.get(f"/pool/calendar?month={MONTH}", Cookie=chinese).says("2031年5月")


def test_a_day_begins_where_the_reader_is(place: Place, operator: Visitor, content_id: int) -> None:
    place.client.update_publish_pool_entry(content_id, schedule_time=_at(31, 23))

    def in_june(cookies: str) -> bool:
        text = operator.get("/pool/calendar?week=2031-W22", Cookie=cookies).text
        return text.index('data-day="2031-06-01"') < text.index(f'id="entry-{content_id}"')

    assert not in_june(cookies_of(operator))
    assert in_june(cookies_of(operator, zone="Asia/Shanghai"))
    assert not in_june(cookies_of(operator, zone="../etc/passwd"))


def _open_calendar(page: Page, month: str) -> None:
    page.goto("/pool/calendar")  # which tells the browser's zone, and is loaded anew for it
    page.goto(f"/pool/calendar?month={month}")


def _calendar(place: Place, page: Page, content_id: int) -> None:
    place.client.update_publish_pool_entry(content_id, schedule_time=_at(7), priority=5)
    _open_calendar(page, MONTH)
    expect(page.get_by_text("Times are in").first).to_be_visible()


def test_an_entry_is_dragged_to_another_day_and_priority(place: Place, page: Page, content_id: int) -> None:
    page.set_viewport_size({"width": 1280, "height": 5000})  # a page that scrolls on the way loses what is dragged
    _calendar(place, page, content_id)
    chip = page.locator(f"#entry-{content_id}")
    chip.drag_to(page.locator("td[data-day='2031-05-14']"))
    expect(page.locator(f"td[data-day='2031-05-14'] #entry-{content_id}")).to_be_visible()
    assert _entry(place, content_id)["scheduled_at"] == _at(14).isoformat()
    chip.drag_to(page.locator(".target[data-priority='9']"))
    expect(chip.locator(".priority")).to_have_text("P9")
    assert _entry(place, content_id)["priority"] == 9
    chip.drag_to(page.locator(".tray h3"))
    expect(page.locator(f".tray #entry-{content_id}")).to_be_visible()


def test_an_entry_is_moved_by_keys(place: Place, page: Page, content_id: int) -> None:
    _calendar(place, page, content_id)
    chip = page.locator(f"#entry-{content_id}")
    chip.focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(f"td[data-day='2031-05-08'] #entry-{content_id}")).to_be_focused()
    page.keyboard.press("Shift+ArrowUp")
    expect(chip.locator(".priority")).to_have_text("P6")
    expect(chip).to_be_focused()
    assert _entry(place, content_id)["scheduled_at"] == _at(8).isoformat()
    place.client.update_publish_pool_entry(content_id, unschedule=True, priority=10)  # the tray shows what is first
    page.reload()
    page.locator(f".tray #entry-{content_id}").focus()
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(f".tray #entry-{content_id} .priority")).to_have_text("P9")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(f"td[data-day='2031-05-01'] #entry-{content_id}")).to_be_focused()
    assert _entry(place, content_id)["scheduled_at"] == _at(1).isoformat()


def test_an_entry_that_is_moved_to_a_past_day_is_asked_about_and_taken_back(
    place: Place, page: Page, content_id: int
) -> None:
    soon = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=2)
    place.client.update_publish_pool_entry(content_id, schedule_time=soon)

    def scheduled() -> str | None:
        return _entry(place, content_id)["scheduled_at"]

    _open_calendar(page, f"{soon:%Y-%m}")
    chip, question = page.locator(f"#entry-{content_id}"), page.get_by_role("heading", name="Publish it at once?")

    def move(answer: str) -> None:
        chip.press("Shift+ArrowLeft")
        expect(question).to_be_visible()
        assert scheduled() == soon.isoformat()
        page.get_by_text(answer).click()

    move("Back, change nothing")
    expect(question).to_have_count(0)
    expect(chip).to_be_visible()
    move("Move it there")
    page.locator("#undo").get_by_role("button", name="Undo").click()  # it is there for some seconds only
    expect(page.get_by_text("is as it was")).to_be_visible()
    assert scheduled() == soon.isoformat()


def test_an_entry_is_moved_by_its_form_on_a_phone(place: Place, page: Page, content_id: int) -> None:
    page.set_viewport_size(PHONE)
    _calendar(place, page, content_id)
    page.get_by_role("button", name=f"Change entry {content_id}").click()
    form = page.locator(f"#change-{content_id}")
    form.get_by_label("Not before").fill("2031-05-20T10:30")
    form.get_by_role("button", name="Save").click()
    expect(page.locator(f"td[data-day='2031-05-20'] #entry-{content_id} .hour")).to_have_text("10:30")
    assert _entry(place, content_id)["scheduled_at"] == (_at(20) + timedelta(minutes=90)).isoformat()
